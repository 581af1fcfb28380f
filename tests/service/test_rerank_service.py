"""Rerank and RerankStream over real gRPC: the law, bad input, overload, cancellation."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from fakes import FakeCrossEncoder
from serving import CONFIG, Gate, Served, loader, refused, serving, with_server

from sidecar.config import AdmissionConfig
from sidecar.types import RerankQuery
from sidecar.v1.ranking_pb2 import (
    HIT_STATE_SCORED,
    STAGE_DENSE,
    STAGE_FIRST_RERANK,
    STAGE_INPUT,
    STAGE_SECOND_RERANK,
    UNSCORED_REASON_NEEDS_TEXT,
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
    "minimum after last": (
        {
            "options": RankingOptions(
                last_stage=STAGE_FIRST_RERANK, minimum_stage=STAGE_SECOND_RERANK
            )
        },
        "options.minimum_stage",
        "INVALID_FIELD",
    ),
    "minimum dense": (
        {"options": RankingOptions(minimum_stage=STAGE_DENSE)},
        "options.minimum_stage",
        "INVALID_FIELD",
    ),
    "long passages 9": (
        {"options": RankingOptions(long_passages=9)},  # type: ignore[arg-type]
        "options.long_passages",
        "INVALID_FIELD",
    ),
    "class 4": (
        {"options": RankingOptions(request_class=4)},  # type: ignore[arg-type]
        "options.request_class",
        "INVALID_FIELD",
    ),
    "cache -1": (
        {"options": RankingOptions(cache=-1)},  # type: ignore[arg-type]
        "options.cache",
        "INVALID_FIELD",
    ),
    "short digest": (
        {"candidates": [Candidate(doc_id="a", text="x", content_digest=b"x")]},
        "candidates[0].content_digest",
        "INVALID_FIELD",
    ),
    "digest of another text": (
        {
            "candidates": [
                *_candidates(1),
                Candidate(doc_id="b", content_digest=bytes(32), text="x"),
            ]
        },
        "candidates[1].content_digest",
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

    loaded.parts.serving.rerank = run
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
        loaded.parts.serving.rerank = run  # type: ignore[method-assign]
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


async def test_a_text_is_sent_once_and_then_by_its_digest(tmp_path: Path) -> None:
    whole = some_request()
    for candidate in whole.candidates:
        read = "\n".join(part for part in (candidate.title, candidate.text) if part)
        candidate.content_digest = hashlib.sha256(read.encode()).digest()
    lean = some_request()
    lean.CopyFrom(whole)
    for candidate in lean.candidates:
        candidate.ClearField("title")
        candidate.ClearField("text")
    async with serving(tmp_path) as served:
        unknown = (await served.rerank.Rerank(lean)).ranking
        sent = (await served.rerank.Rerank(whole)).ranking
        known = (await served.rerank.Rerank(lean)).ranking
    assert [hit.doc_id for hit in unknown.hits] == ["a", "b", "c"]
    assert {hit.unscored_reason for hit in unknown.hits} == {UNSCORED_REASON_NEEDS_TEXT}
    assert [hit.doc_id for hit in known.hits] == ["b", "c", "a"]
    assert known.hits == sent.hits


async def test_unknown_digests_leave_the_others_scored(tmp_path: Path) -> None:
    request = some_request()
    request.candidates.insert(0, Candidate(doc_id="unknown", content_digest=bytes(32)))
    async with serving(tmp_path) as served:
        hits = (await served.rerank.Rerank(request)).ranking.hits
    assert [hit.doc_id for hit in hits] == ["b", "c", "a", "unknown"]
    assert [hit.HasField("logit") for hit in hits] == [True, True, True, False]
    assert hits[-1].unscored_reason == UNSCORED_REASON_NEEDS_TEXT


async def test_more_than_the_accepted_work_is_refused_before_any_response(tmp_path: Path) -> None:
    gate = Gate()
    config = dataclasses.replace(CONFIG, admission=AdmissionConfig(backlog_seconds=1e-6))
    async with serving(tmp_path, config, loader(FakeCrossEncoder(before_score=gate))) as served:
        under_way = served.rerank.Rerank(some_request())
        await gate.reached.wait()
        with refused() as refusal:
            stream = served.rerank.RerankStream(RerankStreamRequest(rerank=some_request()))
            await stream.read()
        for cost_free in (
            some_request(options=RankingOptions(last_stage=STAGE_INPUT)),
            some_request(options=RankingOptions(first_rerank_depth=0, second_rerank_depth=0)),
        ):
            assert (await served.rerank.Rerank(cost_free)).ranking.final
        gate.opened.set()
        assert (await under_way).ranking.stage == STAGE_SECOND_RERANK
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.reason == "OVERLOADED"
    assert refusal.retry_seconds is not None
    pushback = dict(await stream.trailing_metadata())["grpc-retry-pushback-ms"]
    assert int(pushback) == pytest.approx(1000 * refusal.retry_seconds, abs=1)


async def test_the_caller_of_the_metadata_is_whose_share_counts(tmp_path: Path) -> None:
    gate = Gate()
    callers: list[str] = []

    def load(*arguments: Any) -> Any:
        loaded = loader(FakeCrossEncoder(before_score=gate))(*arguments)
        run = loaded.parts.serving.rerank

        def recorded(query: RerankQuery, deadline: Any) -> Any:
            callers.append(query.caller)
            return run(query, deadline)

        loaded.parts.serving.rerank = recorded  # type: ignore[method-assign]
        return loaded

    gate.opened.set()
    async with serving(tmp_path, load=load) as served:
        for metadata in ([("sidecar-caller", "web")], [], [("sidecar-caller", "w" * 300)]):
            await served.rerank.Rerank(some_request(), metadata=metadata)
            stream = RerankStreamRequest(rerank=some_request())
            assert [one async for one in served.rerank.RerankStream(stream, metadata=metadata)]
    assert callers == ["web", "web", "", "", *["w" * 125 + "…"] * 2]


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        ("raise", grpc.StatusCode.UNAVAILABLE, "STAGE_UNAVAILABLE"),
        ("late", grpc.StatusCode.DEADLINE_EXCEEDED, "STAGE_DEADLINE"),
    ],
)
async def test_a_minimum_stage_that_is_not_reached_fails_the_call(
    tmp_path: Path, fault: str, code: grpc.StatusCode, reason: str
) -> None:
    """The stream sends nothing below it either: no ranking that is of no use."""
    gate = Gate()
    second = FakeCrossEncoder(
        raise_words=["tea"] if fault == "raise" else [],
        before_score=gate if fault == "late" else None,
    )
    options = RankingOptions(minimum_stage=STAGE_SECOND_RERANK)
    candidates = [Candidate(doc_id=str(n), text=f"tea {n}") for n in range(3)]
    request = some_request(options=options, candidates=candidates)
    config = with_server(CONFIG, reply_margin_seconds=1.0)
    async with serving(tmp_path, config, loader(second=second)) as served:
        timeout = 1.5 if fault == "late" else 30
        with refused() as unary:
            await served.rerank.Rerank(request, timeout=timeout)
        with refused() as streamed:
            stream = RerankStreamRequest(rerank=request)
            await served.rerank.RerankStream(stream, timeout=timeout).read()
        gate.opened.set()
    for refusal in (unary, streamed):
        assert (refusal.code, refusal.reason) == (code, reason)
        assert (refusal.retry_seconds is None) == (fault == "late")


async def test_a_stream_begins_with_the_minimum_stage(tmp_path: Path) -> None:
    options = RankingOptions(minimum_stage=STAGE_FIRST_RERANK)
    async with serving(tmp_path) as served:
        request = RerankStreamRequest(rerank=some_request(options=options))
        rankings = [reply.ranking async for reply in served.rerank.RerankStream(request)]
    assert [ranking.stage for ranking in rankings] == [STAGE_FIRST_RERANK, STAGE_SECOND_RERANK]
    assert [ranking.revision for ranking in rankings] == [1, 2]
