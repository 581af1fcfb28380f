"""`sidecar-train` on the command line, before a run and beside other runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.__main__ import main


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in, with shop.toml over a few labelled pairs."""
    monkeypatch.chdir(tmp_path)
    rows = [{"query": f"query {n}", "positive": f"words of {n}"} for n in range(40)]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "shop.toml").write_text('[collect]\njudgments = ["set.jsonl"]\n')
    return tmp_path


@pytest.mark.parametrize("command", [["status"], ["explain", "--query", "query 1"]])
def test_where_a_run_was_looked_for(
    here: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    given = [command[0], "shop.toml", *command[1:]]
    assert main(given) == (0 if command[0] == "status" else 2)
    assert "runs/shop: no run has begun there: begin one with" in capsys.readouterr().err
    assert main(["collect", "shop.toml", "--out", "runs/other"]) == 0
    assert main(["collect", "shop.toml", "--out", "runs/shop-smoke"]) == 0
    capsys.readouterr()
    main(given)
    said = capsys.readouterr().err
    assert "there is one in runs/shop-smoke, runs/other: give --out FOLDER, or begin" in said
    main([*given, "--out", "runs/shop-smoke"])
    assert "no run has begun" not in capsys.readouterr().err


def test_a_query_of_a_run_that_has_not_collected(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "runs" / "shop").mkdir(parents=True)
    (here / "runs" / "shop" / "events.jsonl").touch()
    assert main(["explain", "shop.toml", "--query", "query 1"]) == 2
    assert "runs/shop: its stage collect is not done" in capsys.readouterr().err


def test_a_dry_run_says_what_is_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "shop.toml"]) == 0
    assert main(["run", "shop.toml", "--dry-run", "--until", "label"]) == 0
    assert [line.partition(" (")[0] for line in capsys.readouterr().out.splitlines()] == [
        "collect: done, kept",
        "propensity: not done, runs",
        "label: not done, runs",
    ]
