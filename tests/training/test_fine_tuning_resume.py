"""A run that was cut short goes on to the very weights that it would have reached."""

from __future__ import annotations

import io
import json
import shutil

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch

from training.fine_tuning.checkpoints import MARK, mark_whole, newest_whole, remove_cut_short
from training.progress import Progress

from .toy_lists import bi_encoder, cross_encoder, fitted, quiet, settings


class KilledError(Exception):
    pass


class Killing(Progress):
    """Ends the process, as far as training can tell, once a step has been told."""

    def __init__(self, at, events=None):
        super().__init__(events, "train", quiet()._stream)
        self._at = at

    def event(self, kind, **fields):
        super().event(kind, **fields)
        if kind == "step" and fields["step"].startswith(f"{self._at}/"):
            raise KilledError


def weights(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


RUNS = {
    "cross-encoder": (cross_encoder, "worth", {}),
    "bi-encoder": (bi_encoder, "topic", {"loss": "info_nce", "gradient_cache": "on"}),
    "LoRA": (cross_encoder, "worth", {"method": "lora", "learning_rate": 1e-2}),
    "accumulation": (
        cross_encoder,
        "worth",
        {"accumulation": 2, "lists_per_step": 4, "schedule": "cosine"},
    ),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("killed_at", [8, 14])
def test_a_run_that_was_cut_short_is_bit_equal(name, killed_at, tmp_path):
    """Dropout, the order of lists, the schedule and the optimizer's moments included."""
    opener, by, changed = RUNS[name]
    lists_per_step = 8 if by == "worth" else 16
    config = settings(**{"epochs": 3.0, "lists_per_step": lists_per_step} | changed)
    whole = fitted(opener(), config, tmp_path / "whole", by)
    with pytest.raises(KilledError):
        fitted(opener(), config, tmp_path / "cut", by, report=Killing(killed_at))
    torch.manual_seed(99)  # of another process
    resumed = fitted(opener(), config, tmp_path / "cut", by)
    assert same(weights(resumed.model), weights(whole.model))
    for told in ("looks", "losses", "best_step", "shares", "measure", "base", "tokens"):
        assert resumed.history[told] == whole.history[told], told


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path):
    config = settings(epochs=3.0)
    whole = fitted(cross_encoder(), config, tmp_path / "whole")
    with pytest.raises(KilledError):
        fitted(cross_encoder(), config, tmp_path / "cut", report=Killing(12))
    newest, _ = newest_whole(tmp_path / "cut")
    half = tmp_path / "cut" / "checkpoint-11"
    shutil.copytree(newest, half)
    (half / MARK).unlink()
    (half / "optimizer.pt").write_bytes(b"half")
    resumed = fitted(cross_encoder(), config, tmp_path / "cut")
    assert not half.exists()
    assert same(weights(resumed.model), weights(whole.model))


def test_a_run_that_was_over_is_not_trained_on(tmp_path):
    """Cut short after its last step, while shares of the base were tried."""
    config = settings(learning_rate=0.0, evaluations=8, patience=2, base_shares=(0.0, 0.5))

    class Late(Killing):
        def event(self, kind, **fields):
            if kind == "share":
                raise KilledError

    whole = fitted(cross_encoder(), config, tmp_path / "whole")
    with pytest.raises(KilledError):
        fitted(cross_encoder(), config, tmp_path / "cut", report=Late(0))
    events, said = tmp_path / "events.jsonl", io.StringIO()
    report = Progress(events, "train", said)
    resumed = fitted(cross_encoder(), config, tmp_path / "cut", report=report)
    assert f"train: resumed at step {whole.history['steps']} of " in said.getvalue()
    assert same(weights(resumed.model), weights(whole.model))
    assert resumed.history["looks"] == whole.history["looks"]
    told = [json.loads(line)["event"] for line in events.read_text().splitlines()]
    assert "step" not in told
    assert told[0] == "resumed"


def test_patience_counts_the_looks_before_the_cut(tmp_path):
    config = settings(learning_rate=0.0, evaluations=8, patience=3)
    with pytest.raises(KilledError):
        fitted(cross_encoder(), config, tmp_path, report=Killing(8))
    history = fitted(cross_encoder(), config, tmp_path).history
    assert len(history["looks"]) == 4


def test_old_checkpoints_are_removed_but_the_best(tmp_path):
    config = settings(evaluations=8, checkpoints=2, patience=0, epochs=6.0)
    history = fitted(cross_encoder(), config, tmp_path).history
    kept = sorted(int(each.name.partition("-")[2]) for each in tmp_path.glob("checkpoint-*"))
    assert len(kept) <= 3
    assert {history["best_step"], history["steps"]} <= set(kept)


def test_the_newest_whole_checkpoint(tmp_path):
    assert newest_whole(tmp_path) is None
    for step in (5, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (5, 10):
        mark_whole(tmp_path / f"checkpoint-{step}", {"step": step})
    assert newest_whole(tmp_path) == (tmp_path / "checkpoint-10", {"step": 10})
    remove_cut_short(tmp_path)
    assert not (tmp_path / "checkpoint-100").exists()
