"""Postings against a list of pairs, through random changes and over many blocks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap
from recalling import OPERANDS, SCHEMA

import sidecar.recall.embedded.postings as postings_module
from sidecar.recall.embedded.postings import (
    Postings,
    best_counted,
    from_chunks,
    to_bitmap,
    to_ordinals,
)
from sidecar.storage.rows import to_row_value
from sidecar.types import AttributeType

TYPES = SCHEMA.attribute_types()


@st.composite
def kinds_and_pairs(draw):
    """A type, and some (value, ordinal) in batches of different ordinals, none twice."""
    name = draw(st.sampled_from(sorted(OPERANDS)))
    values = st.sampled_from([to_row_value(value) for value in OPERANDS[name]])
    several = name == "tags"
    batches = []
    for _ in range(draw(st.integers(1, 4))):
        held = draw(
            st.dictionaries(
                st.integers(1, 40),
                st.sets(values, min_size=1, max_size=3 if several else 1),
                max_size=12,
            )
        )
        batches.append(held)
    return TYPES[name], batches


@settings(max_examples=150, deadline=None)
@given(case=kinds_and_pairs(), among=st.sets(st.integers(1, 40)), limit=st.integers(1, 4))
@pytest.mark.parametrize("size", [1 << 14, 3])
def test_every_answer_is_that_of_the_pairs(size, case, among, limit):
    kind, batches = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings_module, "BLOCK", size)
        found, held = Postings.of(kind, ()), {}
        for batch in batches:
            removed = BitMap(ordinal for ordinal in batch if ordinal in held)
            pairs = [(value, o) for o, values in batch.items() for value in values]
            found = found.merged(removed, Postings.of(kind, pairs))
            held |= batch
        check(found, held, among, limit)
        gone = set(list(held)[::2])
        found = found.merged(BitMap(gone), Postings.of(kind, ()))
        check(found, {o: v for o, v in held.items() if o not in gone}, among, limit)


def check(found: Postings, held: dict, among: set[int], limit: int) -> None:
    values = sorted({value for each in held.values() for value in each})
    assert [found.plain(key) for key in range(len(found.keys))] == values
    for value in values:
        assert set(found.equal(value)) == {o for o, v in held.items() if value in v}
    for lower in (None, *values):
        for upper in (None, *values):
            wanted = {
                o
                for o, v in held.items()
                if any((lower is None or x > lower) and (upper is None or x <= upper) for x in v)
            }
            assert set(found.between(lower, upper, lower_inclusive=False)) == wanted
    counts = Counter(v for o, each in held.items() if o in among for v in each)
    counted = found.counts(BitMap(among))
    assert dict(zip(values, counted.tolist(), strict=True)) == {v: counts[v] for v in values}
    best = sorted(best_counted(found, counted, limit), key=lambda pair: (-pair[1], pair[0]))
    assert best == sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]


def test_slices_of_many_blocks_and_kept_sets():
    rng = np.random.default_rng(5)
    values = rng.integers(0, 50, 100_000)
    ordinals = np.argsort(values, kind="stable") + 1
    counts = np.bincount(values)
    found = from_chunks(AttributeType.INTEGER, list(range(50)), counts.tolist(), ordinals)
    for lower, upper in [(0, 49), (3, 40), (7, 8), (20, 20)]:
        wanted = set((np.flatnonzero((values >= lower) & (values <= upper)) + 1).tolist())
        assert set(found.between(lower, upper)) == wanted
    halves = (rng.random(100_000) < 0.5).astype(int)
    heavy = from_chunks(
        AttributeType.BOOLEAN, [0, 1], np.bincount(halves).tolist(), np.argsort(halves) + 1
    )
    for _ in range(2):
        assert set(heavy.equal(1)) == set((np.flatnonzero(halves) + 1).tolist())
    assert heavy.equal(1) is heavy.equal(1)


@pytest.mark.parametrize("factor", [1, 1000], ids=["dense", "sparse"])
def test_counts_do_not_depend_on_how_ordinals_lie(factor):
    rng = np.random.default_rng(9)
    pairs = [(int(rng.integers(0, 20)), n * factor) for n in range(1, 500)]
    among = {ordinal for _, ordinal in pairs if rng.random() < 0.5} | {10**6}
    found = Postings.of(AttributeType.INTEGER, pairs)
    wanted = Counter(value for value, ordinal in pairs if ordinal in among)
    assert found.counts(BitMap(among)).tolist() == [wanted[value] for value in range(20)]
    assert found.counts(BitMap()).tolist() == [0] * 20


def test_sets_and_ordinals():
    ordinals = np.array([2**32 - 1, 1, 70_000], dtype=np.int64)
    assert to_ordinals(to_bitmap(ordinals)).tolist() == [1, 70_000, 2**32 - 1]
    assert to_ordinals(BitMap()).tolist() == []
    with pytest.raises(OverflowError):
        to_bitmap(np.array([2**32]))
