"""The weighted sum of standardised scores, against plain arithmetic and its own invariances."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.rerank.combination import combine, standardise

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def test_against_the_standard_library():
    model, earlier = [2.0, -1.0, 0.5, 4.0], [0.03, 0.02, 0.016, 0.015]
    z = [
        [(x - statistics.fmean(scores)) / statistics.pstdev(scores) for x in scores]
        for scores in (model, earlier)
    ]
    expected = [0.3 * a + 0.7 * b for a, b in zip(*z, strict=True)]
    np.testing.assert_allclose(combine(model, earlier, 0.3), expected, rtol=1e-12)


@pytest.mark.parametrize("scores", [[], [7.0], [3.0, 3.0, 3.0], [0.0, 0.0]])
def test_scores_that_do_not_differ_say_nothing(scores):
    assert standardise(scores).tolist() == [0.0] * len(scores)


@given(st.lists(FINITE, max_size=20))
def test_any_finite_scores_stay_finite_and_in_order(scores):
    z = standardise(scores)
    assert np.isfinite(z).all()
    order = np.argsort(scores, kind="stable")
    assert (np.diff(z[order]) >= 0).all()


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20), st.floats(0.5, 1e6))
def test_the_unit_of_a_score_does_not_matter(scores, unit):
    if np.ptp(scores) < 1e-3:
        return
    scaled = [5.0 + unit * score for score in scores]
    np.testing.assert_allclose(standardise(scores), standardise(scaled), atol=1e-6)
