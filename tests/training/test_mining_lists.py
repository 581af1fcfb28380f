"""Lists that the miner makes: what is in them, what is not, and that nothing else matters."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.clicks.log import click_log
from training.config import MineConfig
from training.labels.expected_grades import ExpectedGrades
from training.lists import ListCandidate, Source, Split, TrainingList
from training.mining.denoising import denoised, with_teacher
from training.mining.known import KnownRelevance
from training.mining.lists import Miner
from training.mining.negatives import too_good
from training.mining.passages import Passages
from training.serving.client import RecallHit

from .works import write_rows

DOCUMENTS = 60
ANIMALS = "gull crab seal heron tern plover eider skua grebe curlew".split()  # noqa: SIM905


def passage(number: int) -> str:
    """No three words in a row are of two documents."""
    return f"{ANIMALS[number % 10]} number {number} lives on island {number * 7} alone"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [
        {"_id": f"d{number}", "title": f"Animal {number}", "text": passage(number)}
        for number in range(DOCUMENTS)
    ]
    rows += [{"_id": "twin", "title": "Animal 1", "text": passage(1).upper()}]
    rows += [{"_id": "blank", "title": "", "text": " "}]
    write_rows(tmp_path / "corpus.jsonl", rows)
    return tmp_path / "corpus.jsonl"


def labelled(query_id: str, *candidates: ListCandidate, split: Split = Split.TRAIN) -> TrainingList:
    return TrainingList(query_id, f"query {query_id}", split, candidates)


def positive(number: int, gain: float = 1.0) -> ListCandidate:
    return ListCandidate(f"d{number}", gain, round(4 * gain))


def zero(number: int, source: Source, weight: float = 1.0) -> ListCandidate:
    return ListCandidate(f"d{number}", 0.0, 0, weight, source)


def recalled(names: Sequence[str]) -> list[RecallHit]:
    """In this order, its cosines falling from 0.9 by a hundredth each."""
    return [
        RecallHit(name, rank, 1 / rank, 20.0 / rank, 0.91 - 0.01 * rank)
        for rank, name in enumerate(names, start=1)
    ]


@pytest.fixture
def miner(corpus: Path) -> Callable[..., Miner]:
    def make(*lists: TrainingList, ranks_all: bool = False, seed: int = 0, **keys: Any) -> Miner:
        known = KnownRelevance()
        known.add_labels(lists)
        return Miner(MineConfig(**keys), seed, known, Passages(corpus), ranks_all)

    return make


def ids(one: TrainingList | None, source: Source | None = None) -> list[str]:
    assert one is not None
    return [c.doc_id for c in one.candidates if source is None or c.source is source]


def test_hard_negatives_are_exactly_those_that_every_rule_leaves(
    miner: Callable[..., Miner],
) -> None:
    """As many as there are: what is drawn is then what is allowed."""
    generator = random.Random(3)
    for trial in range(20):
        names = [f"d{number}" for number in generator.sample(range(DOCUMENTS), 30)] + ["twin"]
        generator.shuffle(names)
        one = labelled(f"q{trial}", positive(1), positive(2, 0.5), zero(3, Source.SKIPPED))
        other = TrainingList("other", f"QUERY  q{trial}", Split.TEST, (positive(4),))
        keys = {"negatives": 50, "first_rank": 3, "last_rank": 25, "relative_margin": 0.1}
        shares = {"hard_share": 1.0, "skipped_share": 0.0, "random_share": 0.0}
        found = recalled(names)
        made = miner(one, other, **keys, **shares).make(one, found)
        positives = {"d1", "d2", "d4"}
        allowed = {
            name
            for rank, name in enumerate(names, start=1)
            if 3 <= rank <= 25
            and name not in positives | {"d3", "twin"}
            and name not in too_good(found, {"d1", "d2"}, 0.1)
        }
        assert set(ids(made, Source.HARD)) == allowed
        assert ids(made)[:2] == ["d1", "d2"]


def test_the_mixture_and_what_stands_in_for_what_lacks(miner: Callable[..., Miner]) -> None:
    names = [f"d{number}" for number in range(30)]
    passed_over = [zero(number, Source.SKIPPED, number / 100) for number in range(31, 36)]
    plain = labelled("q", positive(0), *passed_over)

    def counts(one: TrainingList, found: Sequence[str]) -> tuple[int, int, int, int]:
        made = miner(one, relative_margin=0.0).make(one, recalled(found))
        sources = (Source.JUDGED, Source.SKIPPED, Source.HARD, Source.RANDOM)
        judged, *others = (len(ids(made, source)) for source in sources)
        return (judged - 1, others[0], others[1], others[2])

    assert counts(plain, names) == (0, 2, 3, 2)
    assert counts(labelled("q", positive(0)), names) == (0, 0, 5, 2)
    assert counts(plain, ["d0"]) == (0, 5, 0, 2)
    assert counts(labelled("q", positive(0)), ["d0"]) == (0, 0, 0, 7)
    judged = [zero(number, Source.JUDGED) for number in range(40, 44)]
    assert counts(labelled("q", positive(0), *judged, *passed_over), names) == (4, 1, 0, 2)
    made = miner(plain).make(plain, recalled(names))
    assert ids(made, Source.SKIPPED) == ["d35", "d34"]  # the surest


def test_near_duplicates_gone_documents_and_surplus_positives(miner: Callable[..., Miner]) -> None:
    one = labelled(
        "q",
        positive(1, 0.3),
        ListCandidate("gone", 1.0, 4),
        ListCandidate("blank", 1.0, 4),
        *(positive(number, number / 10) for number in (5, 6, 7, 8)),
    )
    made = miner(one, relative_margin=0.0)
    lists = [
        made.make(dataclasses.replace(one, query_id=f"q{n}"), recalled(["d1", "twin", "blank"]))
        for n in range(30)
    ]
    assert all(ids(each)[:4] == ["d8", "d7", "d6", "d5"] for each in lists)
    assert all(not {"twin", "gone", "blank", "d1"} & set(ids(each)) for each in lists)
    assert made.counts["dropped_near_duplicates"] >= 30
    assert made.counts["documents_gone"] >= 60
    assert (made.counts["positives"], made.counts["positives_recalled"]) == (150, 30)


def test_random_negatives_are_of_the_whole_corpus_and_nothing_known(
    miner: Callable[..., Miner],
) -> None:
    shares = {"hard_share": 0.0, "skipped_share": 0.0, "random_share": 1.0}
    one = labelled("q", positive(1), positive(2))
    made = miner(one, negatives=5, **shares)
    drawn: set[str] = set()
    for number in range(200):
        found = made.make(dataclasses.replace(one, query_id=f"q{number}"), recalled(["d9", "d1"]))
        names = ids(found, Source.RANDOM)
        assert len(names) == len(set(names)) == 5
        drawn |= set(names)
    # All but the positives, the positive's twin, the blank one, and what recall ranks above.
    assert drawn == {f"d{n}" for n in range(DOCUMENTS)} - {"d1", "d2", "d9"}


def test_order_and_number_of_queries_change_nothing(miner: Callable[..., Miner]) -> None:
    lists = [labelled(f"q{n}", positive(n), zero(n + 20, Source.SKIPPED)) for n in range(12)]
    found = {one.query_id: recalled([f"d{(n * 7) % 60}" for n in range(40)]) for one in lists}
    many = {"negatives": 40}
    made = [miner(*lists, **many).make(one, found[one.query_id]) for one in lists]
    assert all(len(set(ids(one))) == len(ids(one)) > 20 for one in made)
    one_miner = miner(*lists, **many)
    again = {one.query_id: one_miner.make(one, found[one.query_id]) for one in reversed(lists)}
    assert made == [again[one.query_id] for one in lists]
    other_seed = [miner(*lists, seed=1, **many).make(one, found[one.query_id]) for one in lists]
    assert other_seed != made
    assert set(one_miner.used) >= {c.doc_id for each in made if each for c in each.candidates}


def test_dev_lists_are_what_recall_gives(miner: Callable[..., Miner]) -> None:
    candidates = (positive(1), positive(50), zero(3, Source.SKIPPED, 0.4), positive(29))
    one = labelled("q", *candidates, split=Split.DEV)
    found = recalled([f"d{number}" for number in range(40)])
    for_reranker = miner(one, dev_candidates=20).make(one, found)
    assert for_reranker is not None
    assert ids(for_reranker) == [f"d{number}" for number in range(20)]
    scores = {each.doc_id: each.score for each in found}
    assert {each.doc_id: each.recalled for each in for_reranker.candidates} == {
        doc_id: scores[doc_id] for doc_id in ids(for_reranker)
    }
    known = dataclasses.replace(positive(1), recalled=scores["d1"])
    assert for_reranker.candidates[1] == known
    skipped = dataclasses.replace(zero(3, Source.SKIPPED, 0.4), recalled=scores["d3"])
    assert for_reranker.candidates[3] == skipped
    assert {c.gain for c in for_reranker.candidates if c.doc_id not in ("d1",)} == {0.0}
    for_bi_encoder = miner(one, dev_candidates=20, ranks_all=True).make(one, found)
    assert ids(for_bi_encoder) == [*ids(for_reranker), "d29", "d50"]
    unrecalled = miner(one)
    assert unrecalled.make(one, recalled(["d7", "d8"])) is None
    assert unrecalled.counts["dev_without_positive"] == 1


def test_dev_lists_of_what_users_did_have_the_grades_that_are_expected(
    miner: Callable[..., Miner],
) -> None:
    clicked = [dataclasses.replace(positive(n), source=Source.CLICKED) for n in (30, 1)]
    one = labelled("q", *clicked, zero(3, Source.SKIPPED), split=Split.DEV)
    found = recalled([f"d{number}" for number in range(40)])
    made_by = miner(one, dev_candidates=15)
    made_by.expected_grades = ExpectedGrades(
        {"q": {"d1": 3.5, "d3": 0.2, "d5": 0.4}}, 1.0, 0.5, depth=10
    )
    made = made_by.make(one, found)
    assert ids(made) == [f"d{number}" for number in range(15)]
    grades = {each.doc_id: each.grade for each in made.candidates}
    assert (grades["d1"], grades["d3"], grades["d5"]) == (3.5, 0.2, 0.4)
    assert grades["d0"] == pytest.approx(math.exp(-5.0))  # not shown: below rank 10
    sources = {each.doc_id: each.source for each in made.candidates}
    assert {
        "d1": Source.CLICKED,
        "d3": Source.SKIPPED,
        "d5": Source.SHOWN,
    }.items() <= sources.items()
    assert sources["d0"] is Source.HARD
    assert grades["d13"] == grades["d0"]  # whatever recall thinks of it
    judged = dataclasses.replace(clicked[0], source=Source.JUDGED)
    mixed = dataclasses.replace(one, candidates=(judged, *one.candidates[1:]))
    made = made_by.make(mixed, found)
    assert {each.grade for each in made.candidates} == {0, 4}


def test_what_was_clicked_once_is_no_negative_for_any_spelling(corpus: Path) -> None:
    log = click_log(
        np.array([0, 0, 1]),
        np.array([[4, 5], [4, 6], [7, 8]]),
        clicks=np.array([[False, True], [False, False], [True, False]]),
        query_names=("tea", "other"),
        document_names=tuple(f"d{n}" for n in range(DOCUMENTS)),
    )
    known = KnownRelevance()
    known.add_clicks(log, {"tea": "Green TEA"})
    assert known.relevant("green  tea") == {"d5"}
    assert known.relevant("other") == set()
    one = TrainingList("q", "green tea", Split.TRAIN, (positive(1), zero(5, Source.SKIPPED)))
    known.add_labels([one])
    miner = Miner(MineConfig(negatives=59), 0, known, Passages(corpus), False)
    assert "d5" not in ids(miner.make(one, recalled([f"d{n}" for n in range(1, 60)])))
    dev = dataclasses.replace(one, split=Split.DEV, candidates=(positive(1),))
    assert "d5" not in ids(miner.make(dev, recalled(["d1", "d5", "d6"])))


def test_a_teacher_leaves_out_what_it_takes_for_relevant() -> None:
    one = labelled(
        "q",
        positive(1),
        positive(2, 0.5),
        zero(3, Source.HARD),
        zero(4, Source.RANDOM),
        zero(5, Source.JUDGED),
        zero(6, Source.SKIPPED),
    )
    taught = with_teacher(one, [1.0, 2.0, 2.5, 1.9, 9.0, -3.0])
    assert [c.teacher for c in taught.candidates] == [1.0, 2.0, 2.5, 1.9, 9.0, -3.0]
    assert ids(denoised(taught, 0.0)) == ["d1", "d2", "d4", "d5", "d6"]
    assert ids(denoised(taught, 0.5)) == ["d1", "d2", "d5", "d6"]
    assert denoised(taught, -1.0) == taught
    assert denoised(one, 0.0) == one
    dev = dataclasses.replace(taught, split=Split.DEV)
    assert denoised(dev, 0.0) == dev
