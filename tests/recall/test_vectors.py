"""Vectors of callers: any direction is kept, whatever its length; nothing else is let in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InvalidFieldError
from sidecar.recall.vectors import check_vector, normalised

values = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3).filter(
    lambda v: max(map(abs, v)) > 1e-3
)


@given(values, st.sampled_from([1e-300, 1e-30, 1.0, 1e30, 1e300]))
def test_the_length_of_a_vector_does_not_matter(vector, scale):
    unit = check_vector([value * scale for value in vector], 3, "v")
    expected = np.array(vector) / np.linalg.norm(vector)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("vector", "field", "says"),
    [
        ([], "v", "has 0 values"),
        ([1.0, 2.0], "v", "has 2 values; the collection's bi-encoder has 3"),
        ([0.0, -0.0, 0.0], "v", "all zero"),
        ([1.0, float("nan"), 1.0], "v[1]", "nan"),
        ([1.0, 1.0, float("-inf")], "v[2]", "-inf"),
    ],
)
def test_what_is_refused(vector, field: str, says: str):
    with pytest.raises(InvalidFieldError) as caught:
        check_vector(vector, 3, "v")
    assert caught.value.field == field
    assert says in caught.value.description


def test_a_zero_row_cannot_be_normalised():
    rows = normalised(np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert np.isnan(rows[0]).all()
    assert rows[1].tolist() == pytest.approx([0.6, 0.8])
