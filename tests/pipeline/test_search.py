"""One search from recall to fusion, with legs that answer, fail or are left out."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np
import pytest

from sidecar.config import Config, RecallConfig
from sidecar.errors import (
    BackendUnavailableError,
    DeadlineError,
    InvalidFieldError,
    ModelError,
    StorageError,
)
from sidecar.models.contract import ModelContract
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.search import SearchPipeline
from sidecar.pipeline.streams import last_ranking
from sidecar.recall.base import Leg, Recalled
from sidecar.recall.encoding import identity_of
from sidecar.types import (
    Attribute,
    Boost,
    Diversity,
    Equals,
    Filter,
    Grouping,
    Query,
    Ranking,
    RankingOptions,
    Stage,
    StageReason,
    StageReport,
    StageState,
)


class ListRecaller:
    """Recalls fixed lists; in place of one, a leg is returned and an exception raised."""

    def __init__(
        self, lexical: list[str] | Leg | Exception, dense: list[str] | Leg | Exception
    ) -> None:
        self.lists = {"lexical": lexical, "dense": dense}
        self.depths: list[int] = []
        self.asked_vectors: list[np.ndarray] = []
        self.held_attributes: dict[str, dict[str, Attribute]] = {}
        self.hold: threading.Event | None = None
        self.held: Sequence[str] = ("lexical", "dense")
        self.broken: dict[str, Exception] = {}
        self.reads: list[str] = []
        self.held_vectors: dict[object, dict[str, np.ndarray]] = {}

    def _leg(self, name: str, depth: int) -> Leg:
        if self.hold is not None and name in self.held:
            self.hold.wait()
        answer = self.lists[name]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Leg):
            return answer
        self.depths.append(depth)
        return Leg(tuple(Recalled(d, 1.0 / r) for r, d in enumerate(answer[:depth], start=1)))

    def lexical(self, query: str, filter: Filter | None, depth: int, **asked: object) -> Leg:
        return self._leg("lexical", depth)

    def dense(
        self,
        vector: np.ndarray,
        filter: Filter | None,
        depth: int,
        generation: object = None,
        **asked: object,
    ) -> Leg:
        self.asked_vectors.append(vector)
        return self._leg("dense", depth)

    def _read(self, what: str) -> None:
        self.reads.append(what)
        if self.hold is not None and what in self.held:
            self.hold.wait()
        if what in self.broken:
            raise self.broken[what]

    def passages(self, doc_ids: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(doc_ids, "a passage")

    def attributes(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        self._read("attributes")
        return {doc_id: self.held_attributes.get(doc_id, {}) for doc_id in doc_ids}

    def vectors(
        self, doc_ids: Sequence[str], generation: object = None
    ) -> Mapping[str, np.ndarray]:
        self._read("vectors")
        held = self.held_vectors.get(generation, {})
        return {doc_id: held[doc_id] for doc_id in doc_ids if doc_id in held}


class UnitEncoder:
    """Encodes every text as the first unit vector of three."""

    def __init__(self, languages: tuple[str, ...] = (), failure: Exception | None = None) -> None:
        self.contract = ModelContract("unit", "bi-encoder", "r1", languages, dimensions=3)
        self.failure = failure

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        if self.failure is not None:
            raise self.failure
        return np.tile(np.array([1.0, 0.0, 0.0], np.float32), (len(texts), 1))

    encode_passages = encode_queries


@pytest.fixture
async def search() -> AsyncIterator[object]:
    pipelines = []

    async def run(
        recaller: ListRecaller,
        query: Query,
        encoder: UnitEncoder | None,
        seconds: float = 30.0,
        share: float = 0.7,
        fused_depth: int = 200,
    ) -> Ranking:
        config = Config(recall=RecallConfig(deadline_share=share, fused_depth=fused_depth))
        pipeline = SearchPipeline(encoder, None, None, config)
        pipelines.append(pipeline)
        return await last_ranking(pipeline.run(recaller, query, Deadline.after(seconds)))

    yield run
    for pipeline in pipelines:
        pipeline.close()


def report_of(ranking: Ranking, stage: Stage) -> StageReport:
    return next(report for report in ranking.stages if report.stage is stage)


async def test_both_legs_are_fused_by_reciprocal_ranks(search):
    ranking = await search(ListRecaller(["a", "b"], ["b", "c"]), Query("words"), UnitEncoder())
    # Cormack et al. 2009: b = 1/62 + 1/61, a = 1/61, c = 1/62
    assert [hit.doc_id for hit in ranking.hits] == ["b", "a", "c"]
    assert ranking.hits[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert [s.stage for s in ranking.hits[0].scores] == [Stage.LEXICAL, Stage.DENSE, Stage.FUSED]
    assert [report.stage for report in ranking.stages] == list(Stage)[1:]


async def test_without_a_bi_encoder_the_lexical_leg_answers_alone(search):
    ranking = await search(ListRecaller(["a", "b"], []), Query("words"), None)
    assert [hit.doc_id for hit in ranking.hits] == ["a", "b"]
    assert report_of(ranking, Stage.DENSE).reason is StageReason.NOT_CONFIGURED
    assert not ranking.degraded


async def test_a_query_in_an_unserved_language_skips_the_dense_leg(search):
    ranking = await search(ListRecaller(["a"], ["b"]), Query("三星手机"), UnitEncoder(("en",)))
    assert [hit.doc_id for hit in ranking.hits] == ["a"]
    assert report_of(ranking, Stage.DENSE).reason is StageReason.LANGUAGE_NOT_SERVED
    assert ranking.degraded


async def test_a_vector_of_the_caller_is_normalised_and_used(search):
    recaller = ListRecaller(["a"], ["b"])
    await search(recaller, Query("三星", vector=[0.0, 3.0, 4.0]), UnitEncoder(("en",)))
    np.testing.assert_allclose(recaller.asked_vectors[0], [0.0, 0.6, 0.8], atol=1e-6)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (StorageError("the index is damaged"), StageReason.INDEX_UNAVAILABLE),
        (ModelError("no memory"), StageReason.MODEL_FAILED),
    ],
)
async def test_a_failing_leg_leaves_the_other_alone_and_says_so(search, failure, reason):
    ranking = await search(ListRecaller(["a"], failure), Query("words"), UnitEncoder())
    assert [hit.doc_id for hit in ranking.hits] == ["a"]
    report = report_of(ranking, Stage.DENSE)
    assert (report.state, report.reason) == (StageState.FAILED, reason)
    assert failure.message in report.detail
    assert ranking.degraded


async def test_a_failing_encoder_leaves_the_lexical_leg_alone(search):
    encoder = UnitEncoder(failure=ModelError("no memory"))
    ranking = await search(ListRecaller(["a"], ["b"]), Query("words"), encoder)
    assert [hit.doc_id for hit in ranking.hits] == ["a"]


async def test_no_leg_left_is_an_error_with_both_reasons(search):
    recaller = ListRecaller(StorageError("cut file"), StorageError("flipped bit"))
    with pytest.raises(StorageError, match=r"cut file.*flipped bit"):
        await search(recaller, Query("words"), UnitEncoder())


async def test_an_index_that_is_away_for_now_may_be_asked_again(search):
    reason = StageReason.INDEX_UNAVAILABLE
    away = Leg((), reason=reason, detail="no connection", retry_seconds=2.0)
    with pytest.raises(BackendUnavailableError, match=r"no connection.*cut file") as caught:
        await search(ListRecaller(away, StorageError("cut file")), Query("words"), UnitEncoder())
    assert caught.value.retry_seconds == 2.0
    assert (await search(ListRecaller(away, ["a"]), Query("words"), UnitEncoder())).degraded


@pytest.mark.parametrize("reason", [StageReason.NOT_CONFIGURED, StageReason.LANGUAGE_NOT_SERVED])
async def test_nothing_of_a_dead_index_is_no_answer_where_the_other_leg_did_not_search(
    search, reason
):
    dead, other = StageReason.INDEX_UNAVAILABLE, Leg((), reason=reason)
    away = Leg((), reason=dead, detail="no connection", retry_seconds=2.0)
    with pytest.raises(BackendUnavailableError, match="no connection") as caught:
        await search(ListRecaller(away, other), Query("words"), UnitEncoder())
    assert caught.value.retry_seconds == 2.0
    damaged = Leg((), reason=dead, detail="cut file")
    with pytest.raises(StorageError, match="cut file"):
        await search(ListRecaller(damaged, other), Query("words"), UnitEncoder())


async def test_nothing_of_a_failed_model_is_no_answer_to_a_query_without_terms(search):
    nothing = Leg((), reason=StageReason.NO_QUERY_TERMS)
    encoder = UnitEncoder(failure=ModelError("no memory"))
    with pytest.raises(ModelError, match="no memory"):
        await search(ListRecaller(nothing, []), Query("?!"), encoder)


async def test_a_bad_filter_is_the_callers_error(search):
    failure = InvalidFieldError("filter.equals.attribute", "unknown attribute")
    with pytest.raises(InvalidFieldError):
        await search(ListRecaller(failure, failure), Query("words"), UnitEncoder())


async def test_recall_beyond_the_deadline_is_an_error(search):
    recaller = ListRecaller(["a"], ["b"])
    recaller.hold = threading.Event()
    try:
        with pytest.raises(DeadlineError):
            await search(recaller, Query("words"), UnitEncoder(), seconds=0.05)
    finally:
        recaller.hold.set()


@pytest.mark.parametrize(
    ("late", "stage", "left"),
    [("lexical", Stage.LEXICAL, ["b", "c"]), ("dense", Stage.DENSE, ["a", "b"])],
)
async def test_a_leg_that_hangs_is_left_out_in_time(search, late, stage, left):
    recaller = ListRecaller(["a", "b"], ["b", "c"])
    recaller.hold, recaller.held = threading.Event(), (late,)
    deadline = Deadline.after(10.0)
    try:
        ranking = await search(recaller, Query("words"), UnitEncoder(), seconds=10.0, share=0.03)
        assert 0.0 < deadline.remaining() <= 9.71  # its share was waited for
    finally:
        recaller.hold.set()
    assert [hit.doc_id for hit in ranking.hits] == left
    report = report_of(ranking, stage)
    assert (report.state, report.reason) == (StageState.SKIPPED, StageReason.DEADLINE)
    assert re.fullmatch(r"had not answered after \d+ of 10000 ms", report.detail)
    assert ranking.degraded


@pytest.mark.parametrize("other", [StorageError("cut file"), None])
async def test_a_leg_that_is_alone_is_waited_for_until_the_deadline(search, other):
    """Its share has passed, but the other leg failed, or is not there."""
    recaller = ListRecaller(["a"], other or [])
    recaller.hold, recaller.held = threading.Event(), ("lexical",)
    threading.Timer(0.3, recaller.hold.set).start()
    encoder = UnitEncoder() if other else None
    ranking = await search(recaller, Query("words"), encoder, seconds=30.0, share=0.003)
    assert [hit.doc_id for hit in ranking.hits] == ["a"]
    recaller.hold.clear()
    try:
        with pytest.raises(DeadlineError):
            await search(recaller, Query("words"), encoder, seconds=0.05)
    finally:
        recaller.hold.set()


async def test_legs_are_at_least_as_deep_as_the_hits_asked_for(search):
    many = [f"d{i:04}" for i in range(900)]
    recaller = ListRecaller(many, many)
    ranking = await search(recaller, Query("words", options=RankingOptions(top_k=700)), None)
    assert recaller.depths == [700]
    assert len(ranking.hits) == 700


async def test_nothing_found_is_an_empty_ranking_and_not_degraded(search):
    ranking = await search(ListRecaller([], []), Query("words"), UnitEncoder())
    assert ranking.hits == ()
    assert ranking.final
    assert not ranking.degraded


async def test_what_is_boosted_may_come_from_below_the_cut(search):
    recaller = ListRecaller([f"d{n}" for n in range(9)], [])
    recaller.held_attributes = {"d8": {"new": True}}
    options = RankingOptions(top_k=3)
    boosts = (Boost(Equals("new", True), 10.0),)
    ranking = await search(
        recaller, Query("words", options=options, boosts=boosts), None, fused_depth=3
    )
    assert [hit.doc_id for hit in ranking.hits] == ["d8", "d0", "d1"]
    assert [hit.boost_factor for hit in ranking.hits] == [10.0, 1.0, 1.0]
    assert ranking.hits[0].score == pytest.approx(10 / 69)
    assert report_of(ranking, Stage.FUSED).candidates_out == 3


async def test_boosts_are_worked_out_beside_the_loop(search):
    threads = set()

    class Noted(dict[str, Attribute]):
        def get(self, *key: object) -> object:
            threads.add(threading.current_thread())
            return super().get(*key)

    recaller = ListRecaller(["a", "b"], [])
    recaller.held_attributes = {"a": Noted(), "b": Noted(new=True)}
    boosts = (Boost(Equals("new", True), 10.0),)
    ranking = await search(recaller, Query("words", boosts=boosts), None)
    assert [hit.doc_id for hit in ranking.hits] == ["b", "a"]
    assert threads
    assert threading.current_thread() not in threads


async def test_without_vectors_there_is_no_variety_and_the_report_says_why(search):
    query = Query("words", diversity=Diversity(relevance=0.0))
    ranking = await search(ListRecaller(["a", "b"], []), query, None)
    assert [hit.doc_id for hit in ranking.hits] == ["a", "b"]
    assert report_of(ranking, Stage.DENSE).reason is StageReason.NOT_CONFIGURED
    assert not ranking.degraded


async def test_legs_are_as_deep_as_the_pages_that_are_asked_for(search):
    recaller = ListRecaller([f"d{n}" for n in range(600)], [])
    ranking = await search(recaller, Query("words", page_hits=500), UnitEncoder())
    assert recaller.depths == [500, 500]
    assert len(ranking.hits) == 500


READS = [
    ("attributes", Query("words", boosts=(Boost(Equals("new", True), 10.0),))),
    ("attributes", Query("words", grouping=Grouping("shop"))),
    ("vectors", Query("words", diversity=Diversity(relevance=0.0))),
]


@pytest.mark.parametrize(("what", "query"), READS)
async def test_a_late_read_costs_what_it_was_for_and_not_the_ranking(search, what, query):
    recaller = ListRecaller(["a", "b"], [])
    recaller.hold, recaller.held = threading.Event(), (what,)
    deadline = Deadline.after(0.3)
    try:
        ranking = await search(recaller, query, None, seconds=0.3)
        assert deadline.remaining() > -5.0
    finally:
        recaller.hold.set()
    assert [hit.doc_id for hit in ranking.hits] == ["a", "b"]
    report = report_of(ranking, Stage.FUSED)
    assert (report.state, report.reason) == (StageState.PARTIAL, StageReason.DEADLINE)
    assert re.fullmatch(rf"the {what} were not read after \d+ ms", report.detail)
    assert ranking.degraded


@pytest.mark.parametrize(("what", "query"), READS)
@pytest.mark.parametrize("error", [BackendUnavailableError("down"), StorageError("cut file")])
async def test_a_failed_read_costs_what_it_was_for_and_not_the_ranking(search, what, query, error):
    recaller = ListRecaller(["a", "b"], [])
    recaller.broken = {what: error}
    ranking = await search(recaller, query, None)
    assert [hit.doc_id for hit in ranking.hits] == ["a", "b"]
    report = report_of(ranking, Stage.FUSED)
    assert (report.state, report.reason) == (StageState.PARTIAL, StageReason.INDEX_UNAVAILABLE)
    assert report.detail == f"the {what} could not be read: {error.message}"
    assert ranking.degraded


async def test_the_vectors_for_variety_are_of_the_bi_encoder_that_searched(search):
    """Another generation, of another length, may lead."""
    encoder = UnitEncoder()
    near, far = np.array([1.0, 0.0, 0.0], np.float32), np.array([0.0, 1.0, 0.0], np.float32)
    recaller = ListRecaller(["a", "b", "c"], [])
    recaller.held_vectors = {
        identity_of(encoder): {"a": near, "b": near, "c": far},
        None: {doc_id: np.ones(4, np.float32) / 2.0 for doc_id in "abc"},
    }
    query = Query("words", diversity=Diversity(relevance=0.4))
    ranking = await search(recaller, query, encoder)
    assert [hit.doc_id for hit in ranking.hits] == ["a", "c", "b"]
    assert recaller.reads == ["vectors"]


def of_shops(big: int, count: int) -> ListRecaller:
    """The first documents are of one shop, each of the others of its own."""
    many = [f"d{number:04}" for number in range(count)]
    recaller = ListRecaller(many, [])
    recaller.held_attributes = {
        doc_id: {"shop": "big" if number < big else doc_id} for number, doc_id in enumerate(many)
    }
    return recaller


@pytest.mark.parametrize(("big", "asked"), [(195, [200]), (250, [200, 2000]), (3, [200])])
async def test_recall_goes_deeper_where_grouping_leaves_too_few(search, big, asked):
    recaller = of_shops(big, 1000)
    query = Query("words", options=RankingOptions(top_k=5), grouping=Grouping("shop"))
    ranking = await search(recaller, query, None, fused_depth=20)
    wanted = ["d0000", *(f"d{number:04}" for number in range(big, 1000))]
    assert [hit.doc_id for hit in ranking.hits[:5]] == wanted[:5]
    assert recaller.depths == asked
    assert not ranking.degraded
    assert len(ranking.recalled) <= 25


async def test_a_second_round_is_bounded_and_there_is_no_third(search):
    recaller = of_shops(9000, 9500)
    query = Query("words", options=RankingOptions(top_k=700), grouping=Grouping("shop"))
    ranking = await search(recaller, query, None)
    assert recaller.depths == [700, 5000]
    assert [hit.doc_id for hit in ranking.hits] == ["d0000"]


@pytest.mark.parametrize(
    ("what", "late"), [("lexical", True), ("lexical", False), ("attributes", False)]
)
async def test_the_first_round_stands_where_there_is_no_second(search, what, late):
    recaller, asked, hold = of_shops(250, 1000), 0, threading.Event()
    once = getattr(recaller, what)

    def first_only(*arguments, **more):
        nonlocal asked
        asked += 1
        if asked == 2 and late:
            hold.wait()
        if asked == 2:
            raise StorageError("cut file")
        return once(*arguments, **more)

    setattr(recaller, what, first_only)
    query = Query("words", options=RankingOptions(top_k=5), grouping=Grouping("shop"))
    try:
        ranking = await search(recaller, query, None, seconds=1.0, share=0.3)
    finally:
        hold.set()
    assert [hit.doc_id for hit in ranking.hits] == ["d0000"]
    assert asked == 2
    assert not ranking.degraded
