"""The stage teach: a teacher's logits, in order, taken up; and what is no teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import ConfigurationError
from sidecar.models.contract import read_contract
from sidecar.models.hub import CARRIED
from training.config import FineTuneConfig, TrainingConfig
from training.lists import (
    ListCandidate,
    Source,
    Split,
    TrainingList,
    read_lists,
    write_lists,
    write_passages,
)
from training.stages import teach

from .works import work_for

DOCUMENTS = {f"d{n}": f"passage {'very ' * n}long" for n in range(8)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mined = tmp_path / "reranker" / "mine"
    mined.mkdir(parents=True)
    candidates = (
        ListCandidate("d4", 1.0, 4),
        *(ListCandidate(f"d{n}", 0.0, 0, source=Source.HARD) for n in (0, 3, 7)),
    )
    lists = [TrainingList(f"q{n}", f"query {n}", Split.TRAIN, candidates) for n in range(6)]
    lists.append(dataclasses.replace(lists[0], query_id="dev", split=Split.DEV))
    write_lists(lists, mined / "lists.jsonl")
    write_passages(DOCUMENTS, mined / "passages.jsonl")
    return tmp_path


def config(**keys: Any) -> TrainingConfig:
    return TrainingConfig(reranker=FineTuneConfig(loss="distillation", **keys))


Pairs = Sequence[tuple[str, str]]


def by_length(asked: list[str], most: int) -> Callable[..., Callable[[Pairs], list[float]]]:
    """A teacher that likes long passages, and is cut short after some pairs."""

    def score(pairs: Pairs) -> list[float]:
        if len(asked) + len(pairs) > most:
            raise KeyboardInterrupt
        asked.extend(query for query, _ in pairs)
        return [float(len(passage.split()) - 2) for _, passage in pairs]

    return lambda *_: score


def test_logits_come_in_order_and_what_was_cut_short_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teach, "PAIRS_KEPT_TOGETHER", 8)  # two lists
    work = work_for("reranker/teach", root, config(teacher="a teacher"), ["reranker/mine"])
    first: list[str] = []
    monkeypatch.setattr(teach, "open_teacher", by_length(first, 17))
    with pytest.raises(KeyboardInterrupt):
        teach.run(work)
    second: list[str] = []
    monkeypatch.setattr(teach, "open_teacher", by_length(second, 1000))
    figures = teach.run(work)
    assert len(first) == 16
    assert second == [f"query {n}" for n in (4, 5, 0) for _ in range(4)]
    assert figures == {"teacher": "a teacher", "lists": 7, "pairs": 28, "dropped_negatives": 6}
    lists = list(read_lists(work.out / "lists.jsonl"))
    for one in lists:
        kept = ["d4", "d0", "d3"] + ["d7"] * (one.split is Split.DEV)
        assert [c.doc_id for c in one.candidates] == kept
        assert all(c.teacher == float(c.doc_id[1:]) for c in one.candidates)


def test_a_carried_reranker_teaches_what_it_scores_when_it_serves(root: Path) -> None:
    pytest.importorskip("torch", reason="needs the [train] extra: make test-training")
    work = work_for("reranker/teach", root, config(teacher="pair-minilm-l3"), ["reranker/mine"])
    score = teach.open_teacher(work.config.reranker, work)
    golden = read_contract(CARRIED / "pair-minilm-l3" / "contract.json").golden_pairs
    logits = score([(query, passage) for query, passage, _ in golden])
    assert logits == pytest.approx([expected for *_, expected in golden], abs=1e-3)


def test_a_bi_encoder_is_no_teacher(root: Path) -> None:
    pytest.importorskip("torch", reason="needs the [train] extra: make test-training")
    work = work_for("reranker/teach", root, config(teacher="all-minilm-l6-v2"), ["reranker/mine"])
    with pytest.raises(ConfigurationError, match=r"reranker\.teacher: .*bi-encoder"):
        teach.run(work)
