"""Which tokens are read, against a brute-force reading of the same words."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.models.truncation import leaves_out, tail_tokens, to_spans, tokens_needed
from sidecar.types import LongPassages, Truncation

STRATEGIES = st.builds(
    Truncation,
    long_passages=st.sampled_from(list(LongPassages)),
    max_chunks=st.integers(1, 6),
)


@given(count=st.integers(0, 200), budget=st.integers(1, 50), truncation=STRATEGIES)
def test_every_pair_fits_its_budget(count: int, budget: int, truncation: Truncation) -> None:
    for group in to_spans(count, budget, truncation):
        assert sum(end - start for start, end in group) <= budget
        assert all(0 <= start <= end <= count for start, end in group)
        assert list(itertools.chain(*group)) == sorted(itertools.chain(*group))


@given(count=st.integers(0, 50), truncation=STRATEGIES)
def test_what_fits_is_read_whole(count: int, truncation: Truncation) -> None:
    assert to_spans(count, 50, truncation) == (((0, count),),)


@given(count=st.integers(0, 200), budget=st.integers(1, 50), truncation=STRATEGIES)
def test_left_out_is_what_no_pair_reads(count: int, budget: int, truncation: Truncation) -> None:
    spans = to_spans(count, budget, truncation)
    read = {number for group in spans for start, end in group for number in range(start, end)}
    assert leaves_out(count, spans) == (len(read) < count)


@given(more=st.integers(0, 200), budget=st.integers(1, 50), truncation=STRATEGIES)
def test_the_start_that_is_needed_decides(more: int, budget: int, truncation: Truncation) -> None:
    """A start of more than `tokens_needed`, followed by the tail, is read as the whole would be."""
    count = tokens_needed(budget, truncation) + 1 + more
    whole = list(range(count))
    tail = tail_tokens(budget, truncation)
    short = whole[: tokens_needed(budget, truncation) + 1] + whole[count - tail :]

    def read(tokens: list[int]) -> list[list[int]]:
        groups = to_spans(len(tokens), budget, truncation)
        return [[t for start, end in group for t in tokens[start:end]] for group in groups]

    assert read(short) == read(whole)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (LongPassages.CUT_TAIL, (((0, 16),),)),
        (LongPassages.HEAD_AND_TAIL, (((0, 8), (32, 40)),)),
        (LongPassages.CHUNK_AND_MAX, (((0, 16),), ((14, 30),), ((28, 40),))),
        (LongPassages.REJECT, ()),
    ],
)
def test_forty_tokens_in_a_budget_of_sixteen(strategy: LongPassages, expected: object) -> None:
    assert to_spans(40, 16, Truncation(long_passages=strategy)) == expected


def test_chunks_are_as_many_as_allowed() -> None:
    two = Truncation(long_passages=LongPassages.CHUNK_AND_MAX, max_chunks=2)
    assert to_spans(1000, 16, two) == (((0, 16),), ((14, 30),))
    assert to_spans(17, 16, two) == (((0, 16),), ((14, 17),))


def test_the_odd_token_is_the_heads() -> None:
    odd = Truncation(long_passages=LongPassages.HEAD_AND_TAIL)
    assert to_spans(9, 5, odd) == (((0, 3), (7, 9)),)
    assert to_spans(9, 1, odd) == (((0, 1),),)
