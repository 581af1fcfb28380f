"""Sequence numbers: always rising, and searchable up to the first write that has not ended."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from sidecar.recall.opensearch.sequences import Sequences


def test_they_are_microseconds_of_the_clock_and_never_given_twice():
    sequences, before = Sequences(), time.time_ns() // 1000
    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(sequences.take, [7] * 200))
    numbers = [number for each in taken for number in each]
    assert len(set(numbers)) == 1400
    assert min(numbers) >= before
    assert sequences.latest > max(numbers)


def test_above_what_the_index_has_and_what_others_gave():
    sequences = Sequences()
    ahead = time.time_ns() // 1000 + 10**12
    sequences.seen(ahead)
    assert sequences.durable == ahead
    first = sequences.take(1)
    assert first.start == ahead + 1
    sequences.raise_to(ahead + 500)
    assert sequences.take(1).start == ahead + 501
    assert sequences.durable == ahead


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=30), st.randoms())
def test_nothing_is_searchable_before_it_has_ended(steps, random):
    """`ended` is below every write that is under way, and never falls."""
    sequences, open_writes, last = Sequences(), [], 0
    for begins, count in steps:
        if begins or not open_writes:
            open_writes.append(sequences.take(count))
        else:
            numbers = open_writes.pop(random.randrange(len(open_writes)))
            sequences.end(numbers, is_durable=random.random() < 0.8)
        sequences.refreshed(sequences.ended)
        assert all(sequences.searchable < numbers.start for numbers in open_writes)
        assert sequences.searchable >= last
        assert sequences.searchable <= sequences.durable
        last = sequences.searchable
    for numbers in open_writes:
        sequences.end(numbers, is_durable=True)
    assert sequences.ended == sequences.durable
