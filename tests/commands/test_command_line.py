"""The parser, the exit codes, and mistakes: answered in one sentence, never with a traceback."""

from pathlib import Path

import pytest

from sidecar.__main__ import COMMANDS, build_parser
from sidecar.commands.config import config_table


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser(command).parse_args([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: sidecar {command}" in capsys.readouterr().out


def test_version(sidecar) -> None:
    done = sidecar("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sidecar 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("sarch",), "invalid choice: 'sarch'"),
        (("search", "x"), "--collection"),
        (("serve", "--data", "{tmp}", "--config", "{tmp}/no.toml"), "no.toml: cannot be read"),
        (("serve", "--data", "{tmp}", "--listen", "here"), "give HOST:PORT"),
        (("verify", "--data", "{tmp}/nowhere"), "nowhere: is no data directory"),
        (("evaluate", "{tmp}/nowhere"), "test.tsv: cannot be read"),
        (("rerank", "x", "--candidates", "{tmp}/no.jsonl"), "no.jsonl: cannot be read"),
    ],
)
def test_mistakes_of_the_caller_end_with_2(
    sidecar, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = sidecar(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_key_stops_the_start(sidecar, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[recall]\nlexical_dept = 1\n")
    done = sidecar("serve", "--data", tmp_path / "data", "--config", tmp_path / "x.toml")
    assert done.returncode == 2
    assert "'lexical_dept'; did you mean 'lexical_depth'?" in done.stderr


def test_no_sidecar_there_ends_with_1(sidecar) -> None:
    done = sidecar("search", "x", "--on", "127.0.0.1:1", "--collection", "c")
    assert done.returncode == 1
    assert "no sidecar answers on 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_that_cannot_be_written_is_named(sidecar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = sidecar("calibrate", "--data", tmp_path / "file" / "data")
    assert done.returncode == 1
    assert done.stderr == f"sidecar: {tmp_path}/file/data: Not a directory\n"


def test_the_readme_shows_the_configuration_as_it_is(sidecar) -> None:
    assert sidecar("config").stdout.strip() == config_table()
    readme = Path(__file__).parents[2] / "README.md"
    assert config_table() in readme.read_text(encoding="utf-8")
