"""Train lists of queries that users asked: what was shown, and what to expect of what was not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from training.config import (
    BI_ENCODER,
    GRADED_LOSSES,
    PAIR_LOSSES,
    RERANKER,
    VECTOR_LOSSES,
    FineTuneConfig,
    MineConfig,
    TrainingConfig,
)
from training.labels.expected_grades import ExpectedGrades
from training.lists import ListCandidate, Source, Split, TrainingList
from training.mining.denoising import denoised, with_teacher
from training.mining.known import KnownRelevance
from training.mining.lists import Miner
from training.mining.passages import Passages
from training.serving.client import RecallHit
from training.stages.mine import STAGE, expects_gains

from .works import write_rows

DOCUMENTS = 80
DEPTH = 10  # of the longest ranking that was shown
FIRST, DECAY = 1.2, 0.05
# d0 to d17 were shown; d3 was clicked, and less so d9; d5 and d6 were passed over.
SHOWN = {f"d{number}": round(0.1 + 0.02 * number, 2) for number in range(18)}
USERS = TrainingList(
    "q",
    "green tea",
    Split.TRAIN,
    (
        ListCandidate("d3", 0.9, 4, 0.5, Source.CLICKED),
        ListCandidate("d9", 0.05, 1, 0.3, Source.CLICKED),
        ListCandidate("d5", 0.0, 0, 0.7, Source.SKIPPED),
        ListCandidate("d17", 0.0, 0, 0.2, Source.SKIPPED),
    ),
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """d40 reads as the clicked d3 does."""
    rows = [
        {"_id": f"d{n}", "title": "", "text": f"number {3 if n == 40 else n} of all these leaves"}
        for n in range(DOCUMENTS)
    ]
    write_rows(tmp_path / "corpus.jsonl", rows)
    return tmp_path / "corpus.jsonl"


@pytest.fixture
def miner(corpus: Path) -> Callable[..., Miner]:
    def make(*lists: TrainingList, expects: bool = True, seed: int = 0, **keys: Any) -> Miner:
        known = KnownRelevance()
        known.add_labels(lists)
        grades = ExpectedGrades({"q": SHOWN}, FIRST, DECAY, DEPTH)
        passages = Passages(corpus)
        return Miner(MineConfig(**keys), seed, known, passages, False, grades, expects)

    return make


def recalled(*numbers: int, fall: float = 0.0) -> list[RecallHit]:
    """Where scores do not fall, each is as good as the clicked one: a rule of scores keeps none."""
    return [
        RecallHit(f"d{number}", rank, 1 / rank, None, 0.9 - fall * rank)
        for rank, number in enumerate(numbers, start=1)
    ]


def by_source(one: TrainingList | None) -> Mapping[Source, list[ListCandidate]]:
    assert one is not None
    assert len(one.judged) == len(one.candidates)
    found: dict[Source, list[ListCandidate]] = {source: [] for source in Source}
    for each in one.candidates:
        found[each.source].append(each)
    return found


def gains(candidates: list[ListCandidate]) -> dict[str, float]:
    return {each.doc_id: each.gain for each in candidates}


def test_what_was_shown_stands_with_what_is_expected_of_it(miner: Callable[..., Miner]) -> None:
    made_by = miner(USERS)
    made = made_by.make(USERS, recalled(*range(60)))
    found = by_source(made)
    # The labels of what was clicked; 4 would be a gain of 1.
    assert found[Source.CLICKED] == [
        ListCandidate("d3", 0.9, 4, 1.0, Source.CLICKED),
    ]
    # d9 is clicked, but the twelve best are d3 and d17 to d7 without it: .24 / 4 is above .05.
    assert gains(found[Source.SKIPPED]) == pytest.approx({"d17": 0.44 / 4})
    shown = {f"d{n}": (0.1 + 0.02 * n) / 4 for n in (16, 15, 14, 13, 12, 11, 10, 8, 7)}
    assert found[Source.SHOWN][:9] == [
        ListCandidate(doc_id, pytest.approx(gain), 0, 1.0, Source.SHOWN)
        for doc_id, gain in shown.items()
    ]
    assert made is not None
    assert [each.doc_id for each in made.positives] == ["d3"]
    assert made.is_of_users
    counts = made_by.counts
    assert (counts["expected_lists"], counts["train_lists"]) == (1, 1)
    assert counts["expected_shown"] + counts["expected_skipped"] + 1 == 12


def test_as_many_of_each_kind_as_the_keys_say(miner: Callable[..., Miner]) -> None:
    def counts(**keys: Any) -> tuple[int, int, int]:
        found = by_source(miner(USERS, **keys).make(USERS, recalled(*range(60))))
        of_log = (Source.CLICKED, Source.SKIPPED, Source.SHOWN)
        shown = sum(len(found[source]) for source in of_log)
        assert not found[Source.JUDGED]
        return shown, len(found[Source.HARD]), len(found[Source.RANDOM])

    assert counts() == (12, 4, 2)  # .5 and .25 of 7, the halves rounded up
    assert counts(shown=3) == (3, 4, 2)
    assert counts(shown=50) == (18, 4, 2)
    assert counts(negatives=8) == (12, 4, 2)
    half = {"hard_share": 0.25, "skipped_share": 0.0, "random_share": 0.75}
    assert counts(negatives=4, **half) == (12, 1, 3)


def test_what_was_not_shown_follows_its_rank_and_nothing_is_left_out(
    miner: Callable[..., Miner],
) -> None:
    """Too good by its score, like the clicked one, relevant to another query that reads the same:
    it may be drawn, and is worth no more than what is expected there."""
    elsewhere = ListCandidate("d41", 1.0, 4)
    other = TrainingList("other", "GREEN  tea", Split.TEST, (elsewhere,))
    names = (30, 3, 40, 0, 41, 9, 1, 2, 4, 5, 6, 31, 32, 33, 34, 35)
    made_by = miner(USERS, other, negatives=60, first_rank=1, last_rank=14)
    found = by_source(made_by.make(USERS, recalled(*names)))
    ranks = {"d30": 1, "d40": 3, "d41": 5, "d31": 12, "d32": 13, "d33": 14}  # within the window
    expected = {
        doc_id: FIRST * math.exp(-DECAY * (max(rank, DEPTH + 1) - 1)) / 4
        for doc_id, rank in ranks.items()
    }
    assert gains(found[Source.HARD]) == pytest.approx(expected)
    assert {(c.grade, c.weight) for c in found[Source.HARD]} == {(0, 1.0)}
    assert {(c.gain, c.grade) for c in found[Source.RANDOM]} == {(0.0, 0)}


def test_nothing_that_was_shown_is_drawn_as_if_it_was_not(miner: Callable[..., Miner]) -> None:
    """Neither are those of it for which a list has no room."""
    drawn: set[str] = set()
    for seed in range(60):
        hits = recalled(*range(30), fall=0.01)
        found = by_source(miner(USERS, seed=seed, shown=2, negatives=12).make(USERS, hits))
        names = {each.doc_id for each in (*found[Source.HARD], *found[Source.RANDOM])}
        assert len(names) == 9
        drawn |= names
    assert not drawn & SHOWN.keys()
    assert drawn >= {f"d{number}" for number in range(18, 30)}


def test_what_a_judge_calls_irrelevant_is_that(miner: Callable[..., Miner]) -> None:
    """In the place of a recalled one, whether users saw it or not."""
    zeros = [ListCandidate(f"d{n}", 0.0, 0, 0.8, Source.JUDGED) for n in (16, 25)]
    one = dataclasses.replace(USERS, candidates=(*USERS.candidates, *zeros))
    found = by_source(miner(one).make(one, recalled(*range(30))))
    assert found[Source.JUDGED] == zeros
    assert len(found[Source.HARD]) == 4 - 2


def test_lists_of_labels_stay_as_they_were(miner: Callable[..., Miner]) -> None:
    """Of judged queries, of queries without estimates, with no room for what was shown, and for
    losses over pairs."""
    found = recalled(*range(60), fall=0.01)
    judged = tuple(
        dataclasses.replace(each, source=Source.JUDGED) if each.gain else each
        for each in USERS.candidates
    )
    one = dataclasses.replace(USERS, candidates=judged)
    assert miner(one).make(one, found) == miner(one, expects=False).make(one, found)
    new = dataclasses.replace(USERS, query_id="new")
    assert miner(new).make(new, found) == miner(new, expects=False).make(new, found)
    plain = miner(USERS, expects=False).make(USERS, found)
    assert miner(USERS, shown=0).make(USERS, found) == plain
    kinds = by_source(plain)
    assert gains(kinds[Source.CLICKED]) == {"d3": 0.9, "d9": 0.05}
    assert [len(kinds[s]) for s in (Source.SKIPPED, Source.HARD, Source.RANDOM)] == [2, 3, 2]
    assert {c.gain for c in kinds[Source.HARD]} == {0.0}
    dev = dataclasses.replace(USERS, split=Split.DEV)
    assert miner(dev).make(dev, found) == miner(dev, expects=False).make(dev, found)


def test_a_query_whose_clicked_documents_are_gone_has_no_list(miner: Callable[..., Miner]) -> None:
    gone = ListCandidate("gone", 1.0, 4, 1.0, Source.CLICKED)
    one = dataclasses.replace(USERS, candidates=(gone,))
    assert miner(one).make(one, recalled(*range(30))) is None


def test_only_rerankers_whose_loss_takes_every_gain_have_such_lists() -> None:
    def told(model: str, loss: str) -> bool:
        section = FineTuneConfig(loss=loss)
        return expects_gains(TrainingConfig(bi_encoder=section, reranker=section), model)

    assert {loss for loss in PAIR_LOSSES if told(RERANKER, loss)} == set(GRADED_LOSSES)
    assert not any(told(BI_ENCODER, loss) for loss in VECTOR_LOSSES)
    assert expects_gains(TrainingConfig(), RERANKER)
    assert "{model}.loss" in STAGE.sections  # another loss, other lists


def test_a_teacher_is_asked_of_what_is_known_to_be_relevant() -> None:
    """Its best positive is a clicked one; what is only expected stays, however it scores."""
    one = dataclasses.replace(
        USERS,
        candidates=(
            USERS.candidates[0],
            ListCandidate("d1", 0.1, 0, 1.0, Source.SHOWN),
            ListCandidate("d20", 0.05, 0, 1.0, Source.HARD),
            ListCandidate("d21", 0.0, 0, 1.0, Source.RANDOM),
            ListCandidate("d22", 0.0, 0, 1.0, Source.SHOWN),
            ListCandidate("d23", 0.0, 0, 1.0, Source.RANDOM),
        ),
    )
    taught = with_teacher(one, [1.0, 5.0, 4.0, 2.0, 1.5, 0.0])
    assert [each.doc_id for each in denoised(taught, 0.0).candidates] == ["d3", "d1", "d20", "d23"]
