"""Swaps of neighbours: as often as configured, each pair as likely, nothing else changed."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.pipeline.exploration import explore
from sidecar.types import Hit, Ranking, Stage


def ranking(count: int, teams: tuple[str, ...] = ()) -> Ranking:
    hits = tuple(Hit(f"d{rank}", rank, Stage.FUSED, 1.0 / rank) for rank in range(1, count + 1))
    return Ranking(1, Stage.FUSED, True, False, hits, (), teams=teams)


@given(st.integers(2, 30), st.integers(2, 30), st.integers())
def test_one_pair_of_neighbours_that_are_shown(count: int, top_k: int, seed: int) -> None:
    before = ranking(count)
    after = explore(before, top_k, 1.0, random.Random(seed))
    at = after.swapped_rank
    assert at is not None
    assert 1 <= at < min(top_k, count)
    ids = [hit.doc_id for hit in before.hits]
    ids[at - 1], ids[at] = ids[at], ids[at - 1]
    assert [hit.doc_id for hit in after.hits] == ids
    assert [hit.rank for hit in after.hits] == list(range(1, count + 1))
    assert {(hit.doc_id, hit.score) for hit in after.hits} == {
        (hit.doc_id, hit.score) for hit in before.hits
    }


@pytest.mark.parametrize(("count", "top_k"), [(0, 10), (1, 10), (10, 1)])
def test_nothing_to_swap(count: int, top_k: int) -> None:
    before = ranking(count)
    assert explore(before, top_k, 1.0, random.Random(0)) is before


def test_the_share_is_kept_and_each_pair_is_as_likely() -> None:
    source, before = random.Random(7), ranking(50)
    swaps = Counter(explore(before, 5, 0.02, source).swapped_rank for _ in range(40_000))
    explored = 40_000 - swaps.pop(None)
    assert abs(explored - 800) < 4 * (40_000 * 0.02 * 0.98) ** 0.5
    assert set(swaps) == {1, 2, 3, 4}
    assert all(
        abs(count - explored / 4) < 4 * (explored * 3 / 16) ** 0.5 for count in swaps.values()
    )


def test_no_share_no_swap() -> None:
    source, before = random.Random(7), ranking(10)
    assert all(explore(before, 10, 0.0, source) is before for _ in range(100))


def test_the_team_moves_with_its_hit() -> None:
    teams = ("production", "canary", "canary", "production")
    before = ranking(4, teams)
    after = explore(before, 4, 1.0, random.Random(3))
    of = dict(zip([hit.doc_id for hit in before.hits], teams, strict=True))
    assert after.teams == tuple(of[hit.doc_id] for hit in after.hits)


def test_a_ranking_that_is_not_interleaved_has_no_teams_afterwards() -> None:
    assert explore(ranking(4), 4, 1.0, random.Random(3)).teams == ()


def test_swaps_tell_the_ratio_of_propensities() -> None:
    """What they are for: of a hit that is shown at either of two ranks at random, the clicks are in
    the ratio in which the ranks are looked at, however good it is."""
    source, before = random.Random(11), ranking(2)
    looked_at = {1: 1.0, 2: 0.4}
    clicks: Counter[int] = Counter()
    for _ in range(40_000):
        after = explore(before, 2, 0.5, source)
        for hit in after.hits:
            if hit.doc_id == "d1" and source.random() < looked_at[hit.rank] * 0.6:
                clicks[hit.rank] += 1
    assert clicks[2] / clicks[1] == pytest.approx(0.4, rel=0.05)
