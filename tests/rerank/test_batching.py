import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.models.base import Pair
from sidecar.rerank.batching import plan_batches, score_isolating


def pair(number: int) -> Pair:
    return Pair(input_ids=(number,), token_type_ids=(0,), token_count=1, truncated=False)


@given(st.lists(st.integers(1, 512), max_size=60), st.integers(1, 9))
def test_every_pair_is_in_one_batch_and_lengths_fall(lengths: list[int], batch_size: int) -> None:
    batches = plan_batches(lengths, batch_size)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    flat = [lengths[index] for batch in batches for index in batch]
    assert flat == sorted(lengths, reverse=True)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_no_full_batches_in_another_order_pad_less(lengths: list[int]) -> None:
    lengths = lengths[: len(lengths) // 4 * 4]

    def padded(batches: list[list[int]]) -> int:
        return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)

    as_given = [list(range(len(lengths)))[start : start + 4] for start in range(0, len(lengths), 4)]
    assert padded(plan_batches(lengths, 4)) <= padded(as_given)


@pytest.mark.parametrize("culprits", [(), (0,), (6,), (0, 1), (2, 3, 5)])
def test_culprits_alone_are_nan(culprits: tuple[int, ...]) -> None:
    calls = []

    def score(pairs):
        calls.append(len(pairs))
        if any(one.input_ids[0] in culprits for one in pairs):
            raise RuntimeError("no")
        return np.array([one.input_ids[0] for one in pairs], dtype=np.float32)

    answer = score_isolating(score, [pair(number) for number in range(7)])
    expected = [np.nan if number in culprits else number for number in range(7)]
    np.testing.assert_array_equal(answer.scores, np.array(expected, dtype=np.float32))
    assert (answer.error is not None) == bool(culprits)
    assert len(calls) <= 2 * 7
