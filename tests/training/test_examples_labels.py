"""Scales of labels, agreement of people, and one judgment for each pair."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InputFileError
from training.examples.agreement import krippendorff_alpha
from training.examples.judgments import (
    Judgment,
    Label,
    read_judgments,
    to_judgments,
    write_judgments,
)
from training.examples.scales import scaled
from training.lists import Source


@pytest.mark.parametrize(
    ("labels", "gains", "grades"),
    [
        ([0, 1, 1], [0, 1, 1], [0, 1, 1]),
        ([1, 1], [1, 1], [1, 1]),
        ([0, 1, 2, 3], [0, 1 / 3, 2 / 3, 1], [0, 1, 2, 3]),
        ([1, 2, 3], [1 / 3, 2 / 3, 1], [1, 2, 3]),
        ([-2, 0, 2], [0, 0, 1], [0, 0, 2]),
        ([1, 2, 3, 5], [0, 0.25, 0.5, 1], [0, 1, 2, 4]),
        ([0, 5, 10], [0, 0.5, 1], [0, 2, 4]),
        ([0.0, 0.25, 0.9], [0, 0.25, 0.9], [0, 1, 4]),
        ([1.0, 1.5, 3.0], [0, 0.25, 1], [0, 1, 4]),
        ([0.0, 0.5, 2.0], [0, 0.25, 1], [0, 1, 4]),
        ([-3.5, 0.0, 3.5], [0, 0.5, 1], [0, 2, 4]),
        (["无关", "间接相关", "直接相关"], [0, 0.5, 1], [0, 1, 2]),
        (["Exact", "substitute", "Irrelevant"], [1, 2 / 3, 0], [3, 2, 0]),
        (["no", "YES"], [0, 1], [0, 1]),
        ([], [], []),
    ],
)
def test_scales(labels: list[float | str], gains: list[float], grades: list[int]) -> None:
    found = scaled(labels)
    assert found.gains == pytest.approx(gains)
    assert found.grades.tolist() == grades
    assert not found.unknown


def test_grades_by_their_given_order() -> None:
    found = scaled(["meh", "great", "what"], ["poor", "meh", "fine", "great"])
    assert found.gains[:2] == pytest.approx([1 / 3, 1])
    assert found.grades.tolist() == [1, 3, -1]
    assert np.isnan(found.gains[2])
    assert "collect.grade_names" in found.unknown
    many = scaled(["a", "c", "f"], ["a", "b", "c", "d", "e", "f"])
    assert many.grades.tolist() == [0, 2, 4]


@given(st.lists(st.floats(-1e6, 1e6) | st.integers(-5, 12).map(float), min_size=1, max_size=20))
def test_better_labels_are_worth_no_less(labels: list[float]) -> None:
    found = scaled(labels)
    assert ((found.gains >= 0) & (found.gains <= 1 + 1e-9)).all()
    assert ((found.grades >= 0) & (found.grades <= 4)).all()
    order = np.argsort(labels)
    assert (np.diff(found.gains[order]) >= -1e-12).all()
    assert (np.diff(found.grades[order]) >= 0).all()


# Krippendorff (2011), section C: four observers, twelve units; "." is no label.
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def test_alpha_of_the_published_example() -> None:
    cells = [
        (unit, float(value))
        for row in OBSERVERS
        for unit, value in enumerate(row.split())
        if value != "."
    ]
    pairs = np.array([unit for unit, _ in cells])
    labels = np.array([value for _, value in cells])
    assert krippendorff_alpha(pairs, labels) == pytest.approx(0.815, abs=5e-4)


def by_definition(pairs: list[int], labels: list[float]) -> float:
    """From the definition, distance by distance."""
    count = {p: pairs.count(p) for p in pairs}
    kept = [(p, v) for p, v in zip(pairs, labels, strict=True) if count[p] >= 2]
    values = [v for _, v in kept]
    n = len(values)

    def distance(c: float, k: float) -> float:
        low, high = min(c, k), max(c, k)
        between = sum(low <= v <= high for v in values)
        return (between - (values.count(c) + values.count(k)) / 2) ** 2

    observed = sum(
        distance(a, b) / (count[p] - 1)
        for (i, (p, a)), (j, (q, b)) in itertools.product(enumerate(kept), repeat=2)
        if p == q and i != j
    )
    expected = sum(
        distance(a, b) for (i, a), (j, b) in itertools.permutations(enumerate(values), 2)
    )
    return 1 - (observed / n) / (expected / (n * (n - 1)))


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 1.0, 2.0, 3.0])), max_size=15))
def test_alpha_by_definition(labelled: list[tuple[int, float]]) -> None:
    pairs, labels = [p for p, _ in labelled], [v for _, v in labelled]
    found = krippendorff_alpha(np.array(pairs, dtype=np.int64), np.array(labels))
    several = [v for p, v in labelled if pairs.count(p) >= 2]
    if len(set(several)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(by_definition(pairs, labels))


def test_one_judgment_a_pair() -> None:
    labels = [
        Label("q", "a", 1.0, 4),
        Label("q", "b", 0.0, 0),
        Label("q", "a", 0.5, 2),
        Label("q", "a", 0.0, 0),
        Label("q", "b", 0.25, 1),
        Label("q", "c", 1.0, 1, synthetic=True),
        Label("q", "a", 0.0, 0, synthetic=True),
    ]
    judgments, agreement = to_judgments(labels)
    assert judgments == [
        Judgment("q", "a", 0.5, 2, pytest.approx(1 - 1 / 3, abs=1e-6)),
        Judgment("q", "b", 0.125, 1, pytest.approx(1 - 0.125)),
        Judgment("q", "c", 1.0, 1, 1.0, Source.SYNTHETIC),
    ]
    assert agreement.pairs == 2
    assert agreement.alpha is not None
    assert to_judgments([])[0] == []


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), min_size=1, max_size=30))
def test_medians(labelled: list[tuple[str, int]]) -> None:
    judgments, _ = to_judgments([Label("q", doc, grade / 4, grade) for doc, grade in labelled])
    for one in judgments:
        given_gains = [grade / 4 for doc, grade in labelled if doc == one.doc_id]
        assert one.gain == pytest.approx(float(np.median(given_gains)))
    assert {one.doc_id for one in judgments} == {doc for doc, _ in labelled}


def test_through_a_file(tmp_path: Path) -> None:
    judgments = [Judgment("q", "ö", 0.5, 2, 0.25), Judgment("q", "x", 0, 0, 1, Source.SYNTHETIC)]
    path = tmp_path / "judgments.jsonl"
    assert write_judgments(judgments, path) == 2
    assert list(read_judgments(path)) == judgments
    path.write_text('{"query_id": "q", "source": "judged"}\n')
    with pytest.raises(InputFileError, match="line 1"):
        list(read_judgments(path))
    with pytest.raises(InputFileError, match="cannot be read"):
        list(read_judgments(tmp_path / "none"))
