"""Fusion against tables worked by hand, and its degenerate lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import FusionConfig
from sidecar.errors import ConfigurationError
from sidecar.recall.base import Recalled
from sidecar.recall.fusion import fuse, min_max

LEXICAL = [Recalled("a", 12.0), Recalled("b", 9.0), Recalled("c", 6.0)]
DENSE = [Recalled("c", 0.9), Recalled("d", 0.8), Recalled("a", 0.5)]


def table(ranking: list[Recalled]) -> list[tuple[str, float]]:
    return [(recalled.doc_id, pytest.approx(recalled.score)) for recalled in ranking]


def test_reciprocal_ranks_by_hand():
    # a: 1/61 + 1/63, c: 1/63 + 1/61, b: 1/62, d: 1/62; ties by doc_id.
    assert table(fuse(LEXICAL, DENSE, FusionConfig())) == [
        ("a", 1 / 61 + 1 / 63),
        ("c", 1 / 61 + 1 / 63),
        ("b", 1 / 62),
        ("d", 1 / 62),
    ]


def test_weighted_reciprocal_ranks_by_hand():
    config = FusionConfig(rrf_k=1.0, lexical_weight=2.0, dense_weight=1.0)
    assert table(fuse(LEXICAL, DENSE, config)) == [
        ("a", 2 / 2 + 1 / 4),
        ("c", 2 / 4 + 1 / 2),
        ("b", 2 / 3),
        ("d", 1 / 3),
    ]


def test_convex_by_hand():
    # lexical min-max: a 1, b 1/2, c 0; dense: c 1, d 3/4, a 0; weights 1 and 3.
    config = FusionConfig(method="convex", lexical_weight=1.0, dense_weight=3.0)
    assert table(fuse(LEXICAL, DENSE, config)) == [
        ("c", 0.75),
        ("d", 0.5625),
        ("a", 0.25),
        ("b", 0.125),
    ]


@pytest.mark.parametrize("method", ["rrf", "convex"])
def test_degenerate_legs(method: str):
    config = FusionConfig(method=method)
    one = [Recalled("x", -3.0)]
    assert fuse([], [], config) == []
    assert [r.doc_id for r in fuse(LEXICAL, [], config)] == ["a", "b", "c"]
    assert [r.doc_id for r in fuse([], DENSE, config)] == ["c", "d", "a"]
    assert [r.doc_id for r in fuse(one, one, config)] == ["x"]
    assert fuse(one, [], config)[0].score > 0


def test_min_max_of_one_and_of_equal_scores_is_one():
    assert min_max([Recalled("a", -7.0)]) == {"a": 1.0}
    assert min_max([Recalled("a", 2.0), Recalled("b", 2.0)]) == {"a": 1.0, "b": 1.0}
    assert min_max([]) == {}


def test_zero_weights_leave_the_order_to_the_ids():
    config = FusionConfig(method="convex", lexical_weight=0.0, dense_weight=0.0)
    assert [r.doc_id for r in fuse(LEXICAL, DENSE, config)] == ["a", "b", "c", "d"]


def test_an_unknown_method_is_refused():
    with pytest.raises(ConfigurationError, match="rrf or convex"):
        fuse(LEXICAL, DENSE, FusionConfig(method="sum"))


legs = st.lists(
    st.builds(
        Recalled,
        st.text("abcdefgh", min_size=1, max_size=1),
        st.floats(-1e6, 1e6, allow_nan=False),
    ),
    max_size=8,
    unique_by=lambda recalled: recalled.doc_id,
).map(lambda leg: sorted(leg, key=lambda recalled: (-recalled.score, recalled.doc_id)))


@given(legs, legs, st.sampled_from(["rrf", "convex"]))
def test_every_candidate_once_best_first(lexical, dense, method):
    fused = fuse(lexical, dense, FusionConfig(method=method))
    assert sorted(r.doc_id for r in fused) == sorted({r.doc_id for r in [*lexical, *dense]})
    assert fused == sorted(fused, key=lambda recalled: (-recalled.score, recalled.doc_id))
    if method == "convex":
        assert all(-1e-9 <= recalled.score <= 1 + 1e-9 for recalled in fused)


@given(legs, legs)
def test_swapping_equal_legs_changes_nothing(lexical, dense):
    assert fuse(lexical, dense, FusionConfig()) == fuse(dense, lexical, FusionConfig())
