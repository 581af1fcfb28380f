"""Configurations to begin with load, and say what is there."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from feedbacks import HOUR, NOON, an_event, an_impression, submitted
from stage_works import a_beir_folder

from sidecar.storage.feedback.journal import Journal
from sidecar.storage.feedback.roll import roll
from sidecar.storage.feedback.rows import to_row
from training.__main__ import main
from training.config import TrainingConfig
from training.config_file import load_training_config
from training.progress import Progress
from training.run import plan
from training.stage import run_step


def printed(tmp_path: Path, capsys: pytest.CaptureFixture[str], *given: str) -> TrainingConfig:
    """What is printed, as it loads; it has to be short."""
    capsys.readouterr()
    assert main(["config", *given]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 20
    (tmp_path / "shop.toml").write_text(text, encoding="utf-8")
    return load_training_config(tmp_path / "shop.toml")


def collected(config: TrainingConfig, root: Path) -> dict[str, int]:
    root.mkdir(exist_ok=True)
    figures: dict[str, int] = run_step(
        plan(config)[0], config, root, Progress(None, "collect", io.StringIO())
    )["figures"]
    return figures


def test_of_a_judged_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = {"x": "words of x", "y": "words of y"}
    folder = a_beir_folder(tmp_path / 'a "set"', {"1": "a", "2": "b"}, {"1": {"x": 1}}, documents)
    config = printed(tmp_path, capsys, "--judged", str(folder))
    assert config.collect.judgments == (f"{folder}:train",)
    assert (config.evaluate.judged, config.collect.test_share) == ("", 0.2)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n2\ty\t1\n")
    config = printed(tmp_path, capsys, "--judged", str(folder))
    assert (config.evaluate.judged, config.collect.test_share) == (f"{folder}:test", 0.0)
    figures = collected(config, tmp_path / "run")
    assert (figures["documents"], figures["judgments"]) == (2, 1)
    config = printed(tmp_path, capsys, "--judged", f"{folder}:test")
    assert config.collect.judgments == (f"{folder}:test",)
    assert config.evaluate.judged == ""


def a_log(folder: Path, *collections: str) -> Path:
    folder.mkdir(parents=True)
    journal = Journal(folder)
    shown = [an_impression(n, collection=name) for n, name in enumerate(collections)]
    journal.write([to_row(one) for one in shown], [submitted(an_event("e", 0))])
    journal.close()
    roll(folder, NOON + 40 * HOUR)
    return folder


@pytest.mark.parametrize("given", ["", "feedback"])
def test_of_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str) -> None:
    folder = a_log(tmp_path / "data" / "feedback", "shop", "shop")
    config = printed(tmp_path, capsys, "--log", str(tmp_path / "data" / given))
    assert config.collect.feedback == (str(folder),)
    assert (config.sidecar.collection, config.sidecar.address) == ("shop", "127.0.0.1:50051")
    assert config.publish.registry == ""


def test_of_a_log_of_several_collections(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_log(tmp_path / "feedback", "shop", "help", "shop")
    assert main(["config", "--log", str(folder)]) == 0
    assert 'collection = "help"  # one of help, shop' in capsys.readouterr().out
    lines = tmp_path / "log.jsonl"
    lines.write_text(json.dumps({"query": "a", "shown": ["x"]}) + "\n")
    printed(tmp_path, capsys, "--log", str(lines))
    config = load_training_config(tmp_path / "shop.toml", ["sidecar.address="])
    assert collected(config, tmp_path / "run")["impressions"] == 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "one of them"),
        (["--log", "a", "--judged", "b"], "one of them"),
        (["--log", "none"], "none: is not there: give DIR/feedback"),
        (["--judged", "none"], "none: is no BEIR folder"),
    ],
)
def test_nothing_to_begin_with(
    given: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", *given]) == 2
    assert reason in capsys.readouterr().err
