"""`run --smoke`: small, in a folder of its own, and nothing is published."""

import json
from pathlib import Path

from training.__main__ import main
from training.config_file import load_training_config
from training.smoke import OVERRIDES, STEPS


def test_its_settings_are_settings(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text("[reranker]\nepochs = 3.0\n")
    config = load_training_config(tmp_path / "shop.toml", OVERRIDES)
    assert (config.bi_encoder.max_steps, config.reranker.max_steps) == (STEPS, STEPS)
    assert config.reranker.base_shares == (0.0,)
    assert config.reranker.epochs == 3.0


def test_no_stage_of_it_publishes(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set.jsonl").write_text(json.dumps({"query": "a", "positive": "b"}) + "\n")
    (tmp_path / "shop.toml").write_text('[collect]\njudgments = ["set.jsonl"]\n')
    assert main(["run", "shop.toml", "--smoke", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "reranker/gate: " in told
    assert "/publish: " not in told
