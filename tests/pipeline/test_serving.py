"""Who answers, what is interleaved and explored, and what a flip closes when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.errors import (
    DeadlineError,
    InvalidFieldError,
    ModelError,
    OverloadedError,
    StageUnavailableError,
)
from sidecar.models.foreground import foreground
from sidecar.pipeline.assignment import Shares
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.serving import Lineup, Serving
from sidecar.pipeline.streams import last_ranking
from sidecar.pipeline.variant import CANARY, CONFIGURED, PRODUCTION, ModelSet, Shared, Variant
from sidecar.types import (
    Candidate,
    Hit,
    Query,
    Ranking,
    RankingOptions,
    RerankQuery,
    Stage,
    Visitor,
)

MINUTE = 60.0


class Model:
    """A model that knows whether it is still open."""

    def __init__(self, name: str) -> None:
        self.contract = SimpleNamespace(name=name, revision="1")
        self.is_open = True

    def shared(self) -> Shared[Any]:
        def close(model: Model) -> None:
            assert model.is_open, "closed twice"
            model.is_open = False

        return Shared(self, CONFIGURED, close)


class Pipeline:
    """Answers FUSED, then FIRST_RERANK as final, with fixed hits. Its models must be open all the
    while."""

    def __init__(self, doc_ids: Sequence[str], models: Sequence[Model] = ()) -> None:
        self.doc_ids = doc_ids
        self.models = models
        self.degraded = False
        self.failure: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.before_final: Callable[[], None] = lambda: None
        self.begun = 0
        self.cancelled = 0
        self.is_closed = False

    async def run(self, *asked: object) -> AsyncGenerator[Ranking]:
        self.begun += 1
        self.asked = asked
        self._check_open()
        yield self._ranking(1, Stage.FUSED, final=False)
        try:
            await (asyncio.sleep(0) if self.hold is None else self.hold.wait())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self._check_open()
        if self.failure is not None:
            raise self.failure
        self.before_final()
        yield self._ranking(2, Stage.FIRST_RERANK, final=True)
        self._check_open()

    def close(self) -> None:
        self.is_closed = True

    def _check_open(self) -> None:
        assert not self.is_closed, "a request runs on a pipeline that is closed"
        assert all(model.is_open for model in self.models), "a request runs on a closed model"

    def _ranking(self, revision: int, stage: Stage, final: bool) -> Ranking:
        hits = tuple(
            Hit(doc_id, rank, stage, -float(rank)) for rank, doc_id in enumerate(self.doc_ids, 1)
        )
        return Ranking(revision, stage, final, final and self.degraded, hits, ())


class Watch:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool, bool]] = []
        self.seconds: list[float] = []

    def answered(
        self, variant: str, seconds: float, failed: bool, interleaved: bool = False
    ) -> None:
        self.told.append((variant, failed, interleaved))
        self.seconds.append(seconds)


def variant(name: str, pipeline: Pipeline, shared: ModelSet | None = None) -> Variant:
    unused: Any = pipeline
    return Variant(name, shared or ModelSet(), unused, unused)


def line_up(one: Pipeline, other: Pipeline, shares: Shares, watch: Watch | None = None) -> Serving:
    production = variant(PRODUCTION, one)
    serving = Serving(production)
    serving.flip(Lineup(production, variant(CANARY, other), shares, watch))
    return serving


def query(session: str = "", unlogged: bool = False, top_k: int = 10) -> RerankQuery:
    options = RankingOptions(top_k=top_k, visitor=Visitor(session), unlogged=unlogged)
    return RerankQuery("words", (Candidate("a", "words"),), options)


async def answered(serving: Serving, asked: RerankQuery | None = None) -> list[Ranking]:
    rankings = serving.rerank(asked or query(), Deadline.after(MINUTE))
    return [ranking async for ranking in rankings]


def ids(ranking: Ranking) -> list[str]:
    return [hit.doc_id for hit in ranking.hits]


ALL_CANARY, ALL_INTERLEAVED = Shares(canary=1.0), Shares(interleaved=1.0)


async def test_production_answers_where_there_is_no_canary() -> None:
    serving = Serving(variant(PRODUCTION, Pipeline("abc")))
    rankings = await answered(serving)
    assert [(ids(r), r.variant, r.final) for r in rankings] == [
        (["a", "b", "c"], "production", False),
        (["a", "b", "c"], "production", True),
    ]


async def test_while_a_request_is_answered_other_work_does_not_begin() -> None:
    pipeline = Pipeline("ab")
    pipeline.hold = asyncio.Event()
    task = asyncio.create_task(answered(Serving(variant(PRODUCTION, pipeline))))
    while not pipeline.begun:
        await asyncio.sleep(0)
    assert not foreground().wait_quiet(0.0)
    pipeline.hold.set()
    await task
    assert foreground().wait_quiet(0.0)


async def test_the_canary_answers_its_sessions_and_says_so() -> None:
    serving = line_up(Pipeline("ab"), Pipeline("ba"), ALL_CANARY)
    assert [(ids(r), r.variant) for r in await answered(serving)] == 2 * [(["b", "a"], "canary")]


async def test_searches_go_the_same_way() -> None:
    serving = line_up(Pipeline("ab"), Pipeline("ba"), ALL_CANARY)
    recaller: Any = None
    rankings = serving.search(recaller, Query("words"), Deadline.after(MINUTE))
    assert (await last_ranking(rankings)).variant == "canary"


async def test_of_two_that_are_interleaved_productions_recall_is_told() -> None:
    production, canary, told = Pipeline("ab"), Pipeline("ba"), print
    recaller: Any = None
    rankings = line_up(production, canary, ALL_INTERLEAVED).search(
        recaller, Query("words"), Deadline.after(MINUTE), told
    )
    await last_ranking(rankings)
    assert (production.asked[-1], canary.asked[-1]) == (told, None)


async def test_a_session_gets_one_variant_whatever_it_asks() -> None:
    serving = line_up(Pipeline("ab"), Pipeline("ba"), Shares(0.5, salt="s"))
    seen = set()
    for number in range(40):
        asked = query(f"session-{number}")
        variants = {(await answered(serving, asked))[-1].variant for _ in range(3)}
        assert len(variants) == 1
        seen |= variants
    assert seen == {"production", "canary"}


@pytest.mark.parametrize("shares", [ALL_CANARY, ALL_INTERLEAVED])
async def test_unlogged_requests_are_productions_unexplored_and_unwatched(shares: Shares) -> None:
    watch, one = Watch(), Pipeline("ab")
    production = variant(PRODUCTION, one)
    serving = Serving(production, exploration_share=1.0)
    serving.flip(Lineup(production, variant(CANARY, Pipeline("ba")), shares, watch))
    last = (await answered(serving, query("s", unlogged=True)))[-1]
    assert (ids(last), last.variant, last.swapped_rank) == (["a", "b"], "production", None)
    assert (last.teams, watch.told) == ((), [])


async def test_a_callers_vector_is_of_productions_bi_encoder() -> None:
    watch = Watch()
    serving = line_up(Pipeline("ab"), Pipeline("ba"), ALL_CANARY, watch)
    recaller: Any = None
    asked = Query("words", vector=(1.0, 0.0))
    last = await last_ranking(serving.search(recaller, asked, Deadline.after(MINUTE)))
    assert (last.variant, watch.told) == ("production", [])


async def test_final_rankings_are_explored_with_and_others_are_not() -> None:
    serving = Serving(variant(PRODUCTION, Pipeline("ab")), exploration_share=1.0)
    first, last = await answered(serving)
    assert (ids(first), first.swapped_rank) == (["a", "b"], None)
    assert (ids(last), last.swapped_rank) == (["b", "a"], 1)


async def test_only_what_is_shown_is_explored_with() -> None:
    serving = Serving(variant(PRODUCTION, Pipeline("abcdef")), exploration_share=1.0)
    for _ in range(50):
        last = (await answered(serving, query(top_k=2)))[-1]
        assert ids(last) == list("bacdef")


async def test_interleaved_sessions_get_the_final_ranking_of_both() -> None:
    watch = Watch()
    serving = line_up(Pipeline("abx"), Pipeline("yba"), ALL_INTERLEAVED, watch)
    first, last = await answered(serving)
    assert (ids(first), first.teams, first.variant) == (["a", "b", "x"], (), "production")
    assert sorted(ids(last)) == ["a", "b", "x", "y"]
    assert {last.teams[ids(last).index("x")], last.teams[ids(last).index("y")]} == {
        "production",
        "canary",
    }
    assert sorted(watch.told) == [("canary", False, True), ("production", False, True)]


@pytest.mark.parametrize(
    "failure", [ModelError("down"), ValueError("a bug"), OverloadedError("full", 1.0)]
)
async def test_a_failing_canary_half_leaves_productions_ranking(failure: Exception) -> None:
    other, watch = Pipeline("ba"), Watch()
    other.failure = failure
    serving = line_up(Pipeline("ab"), other, ALL_INTERLEAVED, watch)
    last = (await answered(serving))[-1]
    assert (ids(last), last.variant, last.teams, last.final) == (["a", "b"], "production", (), True)
    assert ("production", False, True) in watch.told
    refused = isinstance(failure, OverloadedError)  # not the canary's fault
    assert (("canary", True, True) in watch.told) is not refused


async def test_a_canary_half_that_does_not_end_is_not_waited_for_beyond_the_deadline() -> None:
    other, watch = Pipeline("ba"), Watch()
    other.hold = asyncio.Event()
    serving = line_up(Pipeline("ab"), other, ALL_INTERLEAVED, watch)
    async with asyncio.timeout(MINUTE):
        last = await last_ranking(serving.rerank(query(), Deadline.after(0.02)))
    assert (ids(last), last.variant, last.teams) == (["a", "b"], "production", ())
    assert ("canary", True, True) in watch.told
    assert other.cancelled == 1


async def test_productions_failure_is_the_requests_and_ends_the_other_half() -> None:
    one, other, watch = Pipeline("ab"), Pipeline("ba"), Watch()
    one.failure = ModelError("down")
    other.hold = asyncio.Event()
    serving = line_up(one, other, ALL_INTERLEAVED, watch)
    with pytest.raises(ModelError, match="down"):
        await answered(serving)
    await asyncio.sleep(0)
    assert other.cancelled == 1
    assert watch.told == [("production", True, True)]


async def test_a_caller_that_leaves_ends_both_halves_and_is_nobodys_failure() -> None:
    one, other, watch = Pipeline("ab"), Pipeline("ba"), Watch()
    other.hold = asyncio.Event()
    serving = line_up(one, other, ALL_INTERLEAVED, watch)
    rankings = serving.rerank(query(), Deadline.after(MINUTE))
    await anext(rankings)
    await asyncio.sleep(0)
    await rankings.aclose()
    await asyncio.sleep(0)
    assert (other.begun, other.cancelled, watch.told) == (1, 1, [])


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (ModelError("down"), [("canary", True, False)]),
        (DeadlineError("too late"), [("canary", True, False)]),
        (StageUnavailableError("no model is up"), [("canary", True, False)]),
        (ValueError("a bug"), [("canary", True, False)]),
        (InvalidFieldError("query", "is empty"), []),
        (OverloadedError("full", 1.0), []),
    ],
)
async def test_failures_are_told_and_refusals_are_not(
    failure: Exception, told: list[tuple[str, bool, bool]]
) -> None:
    other, watch = Pipeline("ba"), Watch()
    other.failure = failure
    serving = line_up(Pipeline("ab"), other, ALL_CANARY, watch)
    with pytest.raises(type(failure)):
        await answered(serving)
    assert watch.told == told


async def test_a_degraded_answer_is_told_as_failed() -> None:
    one, watch = Pipeline("ab"), Watch()
    one.degraded = True
    serving = line_up(one, Pipeline("ba"), Shares(), watch)
    await answered(serving)
    assert watch.told == [("production", True, False)]


async def test_an_interleaved_ranking_is_degraded_if_either_is() -> None:
    other = Pipeline("ba")
    other.degraded = True
    serving = line_up(Pipeline("ab"), other, ALL_INTERLEAVED)
    assert (await answered(serving))[-1].degraded


class Fleet:
    """Models and variants of them, as a workshop makes them."""

    def __init__(self) -> None:
        self.models: list[Model] = []

    def model(self) -> Shared[Any]:
        self.models.append(Model(f"m{len(self.models)}"))
        return self.models[-1].shared()

    def variant(self, name: str, models: ModelSet) -> tuple[Variant, Pipeline]:
        pipeline = Pipeline("ab", [shared.model for shared in models.shared()])  # type: ignore[misc]
        return variant(name, pipeline, models), pipeline

    def open_models(self) -> set[str]:
        return {model.contract.name for model in self.models if model.is_open}


async def test_requests_end_on_what_they_began_with_and_then_it_is_closed() -> None:
    fleet = Fleet()
    small, large, new = fleet.model(), fleet.model(), fleet.model()
    old, old_pipeline = fleet.variant(PRODUCTION, ModelSet(None, small, large))
    old_pipeline.hold = asyncio.Event()
    serving = Serving(old)
    under_way = [asyncio.create_task(answered(serving)) for _ in range(5)]
    await asyncio.sleep(0)

    after, _ = fleet.variant(PRODUCTION, ModelSet(None, small, new))
    serving.flip(Lineup(after))
    assert len(await answered(serving)) == 2  # on the new one, while the old is held
    assert fleet.open_models() == {"m0", "m1", "m2"}

    old_pipeline.hold.set()
    assert all(len(rankings) == 2 for rankings in await asyncio.gather(*under_way))
    await serving.wait_retired()
    assert fleet.open_models() == {"m0", "m2"}
    assert old_pipeline.is_closed
    serving.close()
    assert fleet.open_models() == set()


async def test_an_interleaved_request_that_has_just_begun_keeps_its_canary() -> None:
    fleet = Fleet()
    production, one = fleet.variant(PRODUCTION, ModelSet(None, fleet.model()))
    canary, other = fleet.variant(CANARY, ModelSet(None, fleet.model()))
    serving = Serving(production)
    serving.flip(Lineup(production, canary, ALL_INTERLEAVED))
    rankings = serving.rerank(query(), Deadline.after(MINUTE))
    await anext(rankings)  # production's first: the canary's task has not had its turn
    assert (one.begun, other.begun) == (1, 0)
    serving.flip(Lineup(production))
    for _ in range(20):
        await asyncio.sleep(0)
    last = await anext(rankings)
    assert (last.final, set(last.teams)) == (True, {"production", "canary"})
    await rankings.aclose()
    await serving.wait_retired()
    assert fleet.open_models() == {"m0"}


async def test_a_promotion_closes_productions_model_only() -> None:
    fleet = Fleet()
    both, old, new = fleet.model(), fleet.model(), fleet.model()
    production, _ = fleet.variant(PRODUCTION, ModelSet(None, both, old))
    canary, _ = fleet.variant(CANARY, ModelSet(None, both, new))
    serving = Serving(production)
    serving.flip(Lineup(production, canary, Shares(0.5)))
    promoted, _ = fleet.variant(PRODUCTION, canary.models)
    serving.flip(Lineup(promoted))
    await serving.wait_retired()
    assert fleet.open_models() == {"m0", "m2"}


@pytest.mark.parametrize("seed", range(20))
async def test_flips_at_random_under_load(seed: int) -> None:
    """Every step of every request finds its models open (the pipelines assert it), none fails, and
    in the end exactly what is in the line-up is open."""
    source, fleet = random.Random(seed), Fleet()
    serving = Serving(fleet.variant(PRODUCTION, ModelSet(None, fleet.model(), fleet.model()))[0])
    done = asyncio.Event()

    async def ask() -> int:
        count = 0
        while not done.is_set():
            rankings = await answered(serving, query(str(source.random())))
            assert rankings[-1].final
            count += 1
        return count

    def flip() -> None:
        now = serving.lineup
        models = (now.canary or now.production).models
        first, second = models.first_reranker, models.second_reranker
        match source.choice(["start", "stop", "promote", "activate", "shares"]):
            case "start" if now.canary is None:
                canary, _ = fleet.variant(CANARY, ModelSet(None, first, fleet.model()))
                serving.flip(Lineup(now.production, canary, Shares(0.3, 0.4)))
            case "stop":
                serving.flip(Lineup(now.production))
            case "promote" if now.canary is not None:
                serving.flip(Lineup(fleet.variant(PRODUCTION, now.canary.models)[0]))
            case "activate":
                models = ModelSet(None, fleet.model(), second)
                serving.flip(Lineup(fleet.variant(PRODUCTION, models)[0]))
            case _:
                serving.flip(Lineup(now.production, now.canary, Shares(0.1, 0.8)))

    callers = [asyncio.create_task(ask()) for _ in range(8)]
    for _ in range(60):
        flip()
        for _ in range(source.randrange(12)):
            await asyncio.sleep(0)
    done.set()
    assert all(count > 0 for count in await asyncio.gather(*callers))
    await serving.wait_retired()
    lineup = serving.lineup
    in_use = {
        shared.model.contract.name  # type: ignore[attr-defined]
        for one in (lineup.production, lineup.canary)
        if one is not None
        for shared in one.models.shared()
    }
    assert fleet.open_models() == in_use
