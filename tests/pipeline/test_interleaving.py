"""Team draft: nobody is left out, nobody twice, and neither of the two is favoured."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidecar.pipeline.interleaving import team_draft
from sidecar.types import Hit, Ranking, Stage, StageReport, StageState

IDS = st.lists(st.integers(0, 30).map(str), unique=True, max_size=20)


def ranking(variant: str, doc_ids: list[str], degraded: bool = False) -> Ranking:
    hits = tuple(
        Hit(doc_id, rank, Stage.SECOND_RERANK, score=-float(rank))
        for rank, doc_id in enumerate(doc_ids, start=1)
    )
    return Ranking(3, Stage.SECOND_RERANK, True, degraded, hits, (), variant)


def drafted(one: list[str], other: list[str], seed: int = 0) -> Ranking:
    source = random.Random(seed)
    return team_draft(ranking("production", one), ranking("canary", other), source)


@given(IDS, IDS, st.integers())
def test_all_of_both_and_each_once(one: list[str], other: list[str], seed: int) -> None:
    made = drafted(one, other, seed)
    ids = [hit.doc_id for hit in made.hits]
    assert sorted(ids) == sorted(set(one) | set(other))
    assert [hit.rank for hit in made.hits] == list(range(1, len(ids) + 1))
    assert len(made.teams) == len(ids)


@given(IDS, IDS, st.integers())
def test_each_pick_is_the_best_that_was_left_to_its_team(
    one: list[str], other: list[str], seed: int
) -> None:
    made = drafted(one, other, seed)
    lists = {"production": one, "canary": other}
    picked: set[str] = set()
    for hit, team in zip(made.hits, made.teams, strict=True):
        assert hit.doc_id == next(doc_id for doc_id in lists[team] if doc_id not in picked)
        picked.add(hit.doc_id)


@given(IDS, IDS, st.integers())
def test_the_teams_are_level_as_long_as_both_have_hits(
    one: list[str], other: list[str], seed: int
) -> None:
    made = drafted(one, other, seed)
    picked: set[str] = set()
    count: Counter[str] = Counter()
    for hit, team in zip(made.hits, made.teams, strict=True):
        if set(one) <= picked or set(other) <= picked:
            break
        count[team] += 1
        picked.add(hit.doc_id)
        assert abs(count["production"] - count["canary"]) <= 1


def test_each_team_is_as_likely_to_pick_first_in_each_round() -> None:
    ids = [str(number) for number in range(6)]
    firsts: Counter[tuple[int, str]] = Counter()
    for seed in range(4000):
        teams = drafted(ids, ids[::-1], seed).teams
        firsts.update((place, teams[place]) for place in (0, 2, 4))
    for place in (0, 2, 4):
        # 4 standard deviations of a fair coin.
        assert abs(firsts[place, "canary"] - 2000) < 4 * 4000**0.5 / 2


def test_of_equal_rankings_each_has_half_of_every_rank() -> None:
    ids = [str(number) for number in range(5)]
    counts: Counter[int] = Counter()
    for seed in range(4000):
        made = drafted(ids, ids, seed)
        assert [hit.doc_id for hit in made.hits] == ids
        counts.update(rank for rank, team in enumerate(made.teams) if team == "canary")
    assert all(abs(counts[rank] - 2000) < 4 * 4000**0.5 / 2 for rank in range(5))


def test_the_hits_keep_their_scores_and_the_ranking_its_own_facts() -> None:
    made = team_draft(
        ranking("production", ["a"]), ranking("canary", ["b", "a"], degraded=True), random.Random(0)
    )
    assert {hit.doc_id for hit in made.hits} == {"a", "b"}
    assert (made.revision, made.variant, made.degraded) == (3, "production", True)
    assert made.swapped_rank is None


def test_what_the_stages_of_both_did_is_known() -> None:
    theirs = StageReport(Stage.SECOND_RERANK, StageState.COMPLETE, model_revision="new")
    ours = dataclasses.replace(theirs, model_revision="old")
    one = dataclasses.replace(ranking("production", ["a"]), stages=(ours,))
    other = dataclasses.replace(ranking("canary", ["b"]), stages=(theirs,))
    made = team_draft(one, other, random.Random(0))
    assert (made.stages, made.canary_stages) == ((ours,), (theirs,))


def test_an_empty_ranking_leaves_the_other() -> None:
    assert drafted([], ["a", "b"]).teams == ("canary", "canary")
    assert drafted([], []).hits == ()


@given(IDS, IDS, st.integers(), st.integers(1, 3))
def test_groups_have_as_many_hits_in_the_draft_as_anywhere(
    one: list[str], other: list[str], seed: int, per_group: int
) -> None:
    def with_groups(made: Ranking) -> Ranking:
        hits = [dataclasses.replace(hit, group=int(hit.doc_id) % 4) for hit in made.hits]
        return dataclasses.replace(made, hits=tuple(hits))

    both = with_groups(ranking("production", one)), with_groups(ranking("canary", other))
    made = team_draft(*both, random.Random(seed), per_group)
    held = Counter(hit.group for hit in made.hits)
    wanted = Counter(int(doc_id) % 4 for doc_id in set(one) | set(other))
    assert held == {group: min(count, per_group) for group, count in wanted.items()}
    assert [hit.rank for hit in made.hits] == list(range(1, len(made.hits) + 1))
    assert len(made.teams) == len(made.hits)
