"""Against plain loops over the tokens of each text."""

import numpy as np
import pytest

from sidecar.models.base import Pair
from sidecar.models.pooling import POOLINGS, normalize, pool
from sidecar.models.runtime import Batch

LENGTHS = (5, 1, 3)


def plain(states: np.ndarray, pooling: str) -> np.ndarray:
    pooled = []
    for text, length in zip(states.astype(np.float64), LENGTHS, strict=True):
        tokens = text[:length]
        rows = {
            "mean": sum(tokens) / length,
            "cls": tokens[0],
            "max": np.array([max(column) for column in tokens.T]),
            "last": tokens[-1],
        }
        pooled.append(rows[pooling])
    return np.array(pooled)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_is_left_out(pooling: str) -> None:
    states = np.random.default_rng(3).normal(size=(3, 5, 4)).astype(np.float32)
    mask = np.array([[1] * n + [0] * (5 - n) for n in LENGTHS], dtype=np.int64)
    vectors = pool(states, mask, pooling)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, plain(states, pooling), rtol=1e-5)


def test_a_pooled_output_stays() -> None:
    vectors = np.ones((2, 4), dtype=np.float32)
    assert pool(vectors, np.ones((2, 3), dtype=np.int64), "cls") is vectors


def test_rows_of_length_one_and_zeros_stay_zeros() -> None:
    vectors = normalize(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("longest", "max_tokens", "expected"),
    [(17, 256, 32), (16, 256, 16), (250, 254, 254), (254, 254, 254), (17, 0, 17), (1, 8, 8)],
)
def test_lengths_go_up_in_steps_within_the_models_limit(
    longest: int, max_tokens: int, expected: int
) -> None:
    pairs = [Pair((7,) * longest, (0,) * longest), Pair((5,), (0,))]
    batch = Batch.pad(pairs, 9, max_tokens)
    assert batch.input_ids.shape == (2, expected)
    assert batch.attention_mask.sum(axis=1).tolist() == [longest, 1]
    assert (batch.input_ids[0, longest:] == 9).all()


def test_a_batch_is_padded_to_its_longest() -> None:
    pairs = [Pair((7, 8, 9), (0, 0, 1)), Pair((5,), (0,))]
    batch = Batch.pad(pairs, pad_id=1)
    assert batch.input_ids.tolist() == [[7, 8, 9], [5, 1, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.token_type_ids.tolist() == [[0, 0, 1], [0, 0, 0]]
