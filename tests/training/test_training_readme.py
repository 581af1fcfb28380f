"""What the README says of training: its keys, its configuration, its commands."""

import re
import shlex
from pathlib import Path

import pytest

from training.__main__ import _parser, configuration_table
from training.config_file import load_training_config
from training.stages import STAGES

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Training\n")[2].partition("\n## ")[0]


def fenced(language: str) -> list[str]:
    """The blocks of the section."""
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """The words of each `sidecar-train ...` in a block."""
    blocks = re.sub(r"\$\([^)]*\)", "NOW", "\n".join(fenced(r"\w*")))
    return [shlex.split(one)[1:] for one in re.findall(r"sidecar-train [^#&>\n]*", blocks)]


def test_the_keys_are_shown_as_they_are() -> None:
    assert configuration_table() in README


def test_the_configuration_loads(tmp_path: Path) -> None:
    (shown,) = fenced("toml")
    (tmp_path / "shop.toml").write_text(shown)
    assert load_training_config(tmp_path / "shop.toml").publish.reranker == "second"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_are_taken(words: list[str]) -> None:
    assert _parser().parse_args(words).command == words[0]


def test_the_commands_that_sentences_name_are_there() -> None:
    named = {spelt.split()[0] for spelt in re.findall(r"`sidecar-train ([^`]*)`", README)}
    listed = _parser().format_help()
    assert named
    assert [name for name in named if not re.search(rf"^    {name}\b", listed, re.MULTILINE)] == []


def test_every_stage_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", SECTION, re.MULTILINE)
    assert [row for row in rows if row in STAGES] == list(STAGES)
