"""Rerank and RerankStream over real gRPC: the law, bad input, overload, cancellation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from fakes import FakeCrossEncoder
from serving import CONFIG, Gate, Served, loader, refused, serving, with_server

from sidecar.v1.ranking_pb2 import (
    HIT_STATE_SCORED,
    STAGE_DENSE,
    STAGE_FIRST_RERANK,
    STAGE_INPUT,
    STAGE_SECOND_RERANK,
    RankingOptions,
)
from sidecar.v1.rerank_pb2 import Candidate, RerankRequest, RerankStreamRequest

MIB = 1024 * 1024


def some_request(**changes: Any) -> RerankRequest:
    candidates = [
        Candidate(doc_id="a", title="Rust", text="a language"),
        Candidate(doc_id="b", title="Tea", text="how to make green tea"),
        Candidate(doc_id="c", text="green paint"),
    ]
    fields: dict[str, Any] = {"query": "green tea", "candidates": candidates}
    return RerankRequest(**(fields | changes))


async def test_candidates_are_reordered_and_every_stage_is_reported(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        reply = await served.rerank.Rerank(some_request())
    ranking = reply.ranking
    assert [hit.doc_id for hit in ranking.hits] == ["b", "c", "a"]
    assert [hit.rank for hit in ranking.hits] == [1, 2, 3]
    assert ranking.final
    assert not ranking.degraded
    assert ranking.stage == STAGE_SECOND_RERANK
    assert ranking.hits[0].state == HIT_STATE_SCORED
    assert not ranking.hits[0].explanation
    assert [report.stage for report in ranking.stages] == [
        STAGE_INPUT,
        STAGE_FIRST_RERANK,
        STAGE_SECOND_RERANK,
    ]
    assert ranking.stages[1].model == "fake-overlap"


async def test_the_explanation_and_the_cut_are_as_asked(tmp_path: Path) -> None:
    options = RankingOptions(top_k=1, explain=True)
    async with serving(tmp_path) as served:
        reply = await served.rerank.Rerank(some_request(options=options, lexical_signal=True))
    (hit,) = reply.ranking.hits
    stages = [score.stage for score in hit.explanation]
    assert stages == sorted(stages)
    assert {STAGE_INPUT, STAGE_FIRST_RERANK, STAGE_SECOND_RERANK} <= set(stages)
    assert hit.explanation[-1].model_score == pytest.approx(1.0)


async def test_the_stream_has_one_ranking_for_each_stage(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        call = served.rerank.RerankStream(RerankStreamRequest(rerank=some_request()))
        rankings = [reply.ranking async for reply in call]
    assert [ranking.revision for ranking in rankings] == [1, 2, 3]
    assert [ranking.stage for ranking in rankings] == [
        STAGE_INPUT,
        STAGE_FIRST_RERANK,
        STAGE_SECOND_RERANK,
    ]
    assert [ranking.final for ranking in rankings] == [False, False, True]


def _candidates(count: int, **fields: Any) -> list[Candidate]:
    return [Candidate(doc_id=str(index), text="x", **fields) for index in range(count)]


BAD_REQUESTS = {
    "empty query": ({"query": ""}, "query", "INVALID_FIELD"),
    "white space": ({"query": " \n\t"}, "query", "INVALID_FIELD"),
    "long query": ({"query": "é" * 4097}, "query", "TOO_LARGE"),
    "no candidates": ({"candidates": []}, "candidates", "INVALID_FIELD"),
    "many candidates": ({"candidates": _candidates(1001)}, "candidates", "TOO_LARGE"),
    "same id twice": (
        {"candidates": [*_candidates(3), Candidate(doc_id="1", text="y")]},
        "candidates[3].doc_id",
        "INVALID_FIELD",
    ),
    "no id": ({"candidates": [Candidate(text="x")]}, "candidates[0].doc_id", "INVALID_FIELD"),
    "long id": (
        {"candidates": [Candidate(doc_id="i" * 513)]},
        "candidates[0].doc_id",
        "TOO_LARGE",
    ),
    "10 MB text": (
        {"candidates": [*_candidates(1), Candidate(doc_id="b", text="x" * 10_000_000)]},
        "candidates[1].text",
        "TOO_LARGE",
    ),
    "17 MiB in all": (
        {"candidates": [Candidate(doc_id=str(i), text="x" * (MIB - 1)) for i in range(17)]},
        "candidates",
        "TOO_LARGE",
    ),
    "NaN score": (
        {"candidates": _candidates(2, score=float("nan"))},
        "candidates[0].score",
        "INVALID_FIELD",
    ),
    "some scores": (
        {"candidates": [Candidate(doc_id="a", text="x", score=1.0), *_candidates(1)]},
        "candidates[1].score",
        "INVALID_FIELD",
    ),
    "top_k 0": ({"options": RankingOptions(top_k=0)}, "options.top_k", "INVALID_FIELD"),
    "top_k 1001": ({"options": RankingOptions(top_k=1001)}, "options.top_k", "INVALID_FIELD"),
    "depth -1": (
        {"options": RankingOptions(first_rerank_depth=-1)},
        "options.first_rerank_depth",
        "INVALID_FIELD",
    ),
    "depth 1001": (
        {"options": RankingOptions(second_rerank_depth=1001)},
        "options.second_rerank_depth",
        "INVALID_FIELD",
    ),
    "dense stage": (
        {"options": RankingOptions(last_stage=STAGE_DENSE)},
        "options.last_stage",
        "INVALID_FIELD",
    ),
    "stage 77": (
        {"options": RankingOptions(last_stage=77)},  # type: ignore[arg-type]
        "options.last_stage",
        "INVALID_FIELD",
    ),
    "language": (
        {"options": RankingOptions(language="english")},
        "options.language",
        "INVALID_FIELD",
    ),
}


async def test_bad_requests_name_the_field(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for what, (changes, field, reason) in BAD_REQUESTS.items():
            with refused() as refusal:
                await served.rerank.Rerank(some_request(**changes))
            found = (refusal.code, refusal.field, refusal.reason)
            assert found == (grpc.StatusCode.INVALID_ARGUMENT, field, reason), what
            assert refusal.metadata["field"] == field
            assert field in refusal.message


async def test_the_field_of_a_stream_is_that_of_its_own_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with refused() as refusal:
            request = RerankStreamRequest(rerank=some_request(query=""))
            await served.rerank.RerankStream(request).read()
    assert refusal.field == "rerank.query"


async def test_the_limits_themselves_are_accepted(tmp_path: Path) -> None:
    texts = [Candidate(doc_id="i" * 512, text="x" * MIB), *_candidates(999, title="y")]
    options = RankingOptions(top_k=1000, first_rerank_depth=0, second_rerank_depth=0)
    async with serving(tmp_path) as served:
        request = some_request(query="q" * 8192, candidates=texts, options=options)
        reply = await served.rerank.Rerank(request)
    assert len(reply.ranking.hits) == 1000
    assert reply.ranking.stage == STAGE_INPUT


async def test_an_unexpected_error_is_not_told(tmp_path: Path, caplog: Any) -> None:
    async with serving(tmp_path, load=_failing_rerank) as served:
        with refused() as refusal:
            await served.rerank.Rerank(some_request())
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert refusal.reason == "INTERNAL"
    assert "secret" not in refusal.message
    assert refusal.metadata["error_id"] in caplog.text
    assert "secret" in caplog.text


def _failing_rerank(*arguments: Any) -> Any:
    loaded = loader()(*arguments)

    async def run(*_: Any) -> Any:
        raise RuntimeError("a secret of the server's")
        yield

    loaded.parts.rerank.run = run
    return loaded


async def test_calls_beyond_the_limit_are_refused_with_a_delay(tmp_path: Path) -> None:
    gate = Gate()
    load = loader(FakeCrossEncoder(before_score=gate))
    async with serving(tmp_path, with_server(CONFIG, max_calls=1), load) as served:
        under_way = served.rerank.Rerank(some_request())
        await gate.reached.wait()
        with refused() as refusal:
            await served.rerank.Rerank(some_request())
        gate.opened.set()
        assert (await under_way).ranking.final
        assert (await served.rerank.Rerank(some_request())).ranking.final
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.reason == "OVERLOADED"
    assert refusal.retry_seconds is not None
    assert refusal.retry_seconds > 0


async def test_a_cancelled_call_cancels_its_pipeline(tmp_path: Path) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def run(*_: Any) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        yield

    def load(*arguments: Any) -> Any:
        loaded = loader()(*arguments)
        loaded.parts.rerank.run = run  # type: ignore[method-assign]
        return loaded

    async with serving(tmp_path, load=load) as served:
        for method, request in (
            (served.rerank.Rerank, some_request()),
            (served.rerank.RerankStream, RerankStreamRequest(rerank=some_request())),
        ):
            call = method(request)
            await started.wait()
            call.cancel()
            await asyncio.wait_for(cancelled.wait(), 10)
            started.clear()
            cancelled.clear()


async def test_a_short_deadline_leaves_out_later_stages(tmp_path: Path) -> None:
    gate = Gate()
    load = loader(second=FakeCrossEncoder(before_score=gate))
    config = with_server(CONFIG, reply_margin_seconds=1.0)
    async with serving(tmp_path, config, load) as served:
        reply = await served.rerank.Rerank(some_request(), timeout=1.5)
        gate.opened.set()
    assert reply.ranking.degraded
    assert reply.ranking.stage == STAGE_FIRST_RERANK


async def test_a_deadline_within_the_margin_is_exceeded(tmp_path: Path) -> None:
    config = with_server(CONFIG, reply_margin_seconds=100.0)
    async with serving(tmp_path, config) as served:
        await _assert_deadline(served)


async def _assert_deadline(served: Served) -> None:
    with refused() as refusal:
        await served.rerank.Rerank(some_request(), timeout=30)
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refusal.reason == "DEADLINE_EXCEEDED"
