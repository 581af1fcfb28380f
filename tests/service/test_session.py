"""RerankSession over real gRPC: what rerank.proto says of it, point by point."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from fakes import FakeCrossEncoder
from google.protobuf.duration_pb2 import Duration
from serving import CONFIG, Gate, Served, from_details, loader, serving

from sidecar.config import AdmissionConfig
from sidecar.service import session
from sidecar.service.deadlines import Deadlines
from sidecar.service.texts import Texts
from sidecar.types import Ranking, RerankQuery, Stage
from sidecar.v1.ranking_pb2 import (
    STAGE_INPUT,
    STAGE_SECOND_RERANK,
    UNSCORED_REASON_NEEDS_TEXT,
    RankingOptions,
)
from sidecar.v1.rerank_pb2 import (
    Candidate,
    RerankRequest,
    RerankSessionRequest,
    RerankSessionResponse,
    SessionCancel,
    SessionCandidates,
    SessionEnd,
    SessionStart,
)

QUERY = "green tea"
TEXTS = {"a": "a language", "b": "how to make green tea", "c": "green paint"}
LIMIT = CONFIG.server.session_queue_requests


def start(request_id: str, query: str = QUERY, **fields: Any) -> RerankSessionRequest:
    return RerankSessionRequest(request_id=request_id, start=SessionStart(query=query, **fields))


def candidates(request_id: str, doc_ids: Iterable[str] = TEXTS) -> RerankSessionRequest:
    chunk = [Candidate(doc_id=doc_id, text=TEXTS.get(doc_id, "x")) for doc_id in doc_ids]
    return RerankSessionRequest(
        request_id=request_id, candidates=SessionCandidates(candidates=chunk)
    )


def end(request_id: str) -> RerankSessionRequest:
    return RerankSessionRequest(request_id=request_id, end=SessionEnd())


def cancel(request_id: str) -> RerankSessionRequest:
    return RerankSessionRequest(request_id=request_id, cancel=SessionCancel())


def whole(request_id: str, **fields: Any) -> list[RerankSessionRequest]:
    return [start(request_id, **fields), candidates(request_id), end(request_id)]


async def write(call: Any, *frames: RerankSessionRequest) -> None:
    for frame in frames:
        await call.write(frame)


async def read_until(call: Any, kind: str, request_id: str) -> list[RerankSessionResponse]:
    """The frames up to the first of a kind for a request; for "final" the final ranking."""
    frames = []
    while (frame := await asyncio.wait_for(call.read(), 20)) is not grpc.aio.EOF:
        frames.append(frame)
        wanted = frame.ranking.final if kind == "final" else frame.HasField(kind)
        if wanted and frame.request_id == request_id:
            return frames
    raise AssertionError(f"the stream ended without {kind} of {request_id!r}: {frames}")


async def answers(served: Served, *frames: RerankSessionRequest) -> list[RerankSessionResponse]:
    """All that comes back when the client sends frames and half-closes."""
    call = served.rerank.RerankSession()
    await write(call, *frames)
    await call.done_writing()
    return [frame async for frame in call]


def refusal_of(frame: RerankSessionResponse) -> Any:
    code = next(code for code in grpc.StatusCode if code.value[0] == frame.failed.code)
    return from_details(code, frame.failed.message, frame.failed.details)


def kinds(frames: Iterable[RerankSessionResponse], request_id: str) -> list[str]:
    return [str(f.WhichOneof("frame")) for f in frames if f.request_id == request_id]


async def test_a_request_is_started_ranked_and_final(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        frames = await answers(served, *whole("r"))
    assert frames[0].HasField("started")
    rankings = [frame.ranking for frame in frames[1:]]
    assert [ranking.final for ranking in rankings] == [False] * (len(rankings) - 1) + [True]
    assert [hit.doc_id for hit in rankings[-1].hits] == ["b", "c", "a"]


async def test_requests_interleave_and_candidates_come_in_chunks(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        frames = await answers(
            served,
            start("one"),
            start("two", query="paint"),
            candidates("one", ["a"]),
            candidates("two", ["a", "b"]),
            candidates("one", ["b", "c"]),
            candidates("two", ["c"]),
            end("two"),
            end("one"),
        )
    finals = {f.request_id: f.ranking.hits for f in frames if f.ranking.final}
    assert [hit.doc_id for hit in finals["one"]] == ["b", "c", "a"]
    assert finals["two"][0].doc_id == "c"


async def test_the_final_ranking_is_that_of_rerank(tmp_path: Path) -> None:
    options = RankingOptions(top_k=2, explain=True)
    request = RerankRequest(
        query=QUERY,
        candidates=candidates("").candidates.candidates,
        options=options,
        lexical_signal=True,
    )
    async with serving(tmp_path) as served:
        frames = await answers(served, *whole("r", options=options, lexical_signal=True))
        reply = await served.rerank.Rerank(request)
    assert frames[-1].ranking.hits == reply.ranking.hits


async def test_an_id_is_free_again_after_final(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        call = served.rerank.RerankSession()
        for _ in range(3):
            await write(call, *whole("r"))
            frames = await read_until(call, "final", "r")
            assert "failed" not in kinds(frames, "r")
        await call.done_writing()


BAD_FRAMES = {
    "empty query": ([start("r", query=""), candidates("r"), end("r")], "start.query"),
    "top_k": (whole("r", options=RankingOptions(top_k=0)), "start.options.top_k"),
    "timeout": (whole("r", timeout=Duration()), "start.timeout"),
    "no candidates": ([start("r"), end("r")], "candidates"),
    "empty chunk": ([start("r"), candidates("r", []), end("r")], "candidates.candidates"),
    "same id in two chunks": (
        [start("r"), candidates("r"), candidates("r", ["x", "a"]), end("r")],
        "candidates.candidates[1].doc_id",
    ),
    "1,001 in all": (
        [
            start("r"),
            candidates("r", map(str, range(600))),
            candidates("r", map(str, range(600, 1001))),
            end("r"),
        ],
        "candidates.candidates",
    ),
    "no start": ([candidates("r"), end("r")], "request_id"),
    "only end": ([end("r")], "request_id"),
    "no frame": ([RerankSessionRequest(request_id="r")], "frame"),
    "started twice": ([start("r"), *whole("r")], "request_id"),
    "no id": ([start("")], "request_id"),
    "long id": ([start("r" * 129)], "request_id"),
}


@pytest.mark.parametrize("what", BAD_FRAMES)
async def test_a_bad_frame_fails_its_request_once_and_no_other(tmp_path: Path, what: str) -> None:
    bad, field = BAD_FRAMES[what]
    async with serving(tmp_path) as served:
        call = served.rerank.RerankSession()
        await write(call, start("good"), *bad)
        frames = await read_until(
            call, "failed", bad[0].request_id[:125] + "…" * (what == "long id")
        )
        await write(call, candidates("good"), end("good"))
        frames += await read_until(call, "final", "good")
        # The id is free again, and nothing of the failed request is left over.
        await write(call, *whole("r"))
        frames += await read_until(call, "final", "r")
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    failures = [frame for frame in frames if frame.HasField("failed")]
    assert len(failures) == 1
    refusal = refusal_of(failures[0])
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.field == field


async def test_a_frame_after_end_fails_the_request(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, load=loader(FakeCrossEncoder(before_score=gate))) as served:
        call = served.rerank.RerankSession()
        await write(call, *whole("r"))
        await gate.reached.wait()
        await write(call, candidates("r", ["x"]))
        frames = await read_until(call, "failed", "r")
        gate.opened.set()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    assert refusal_of(frames[-1]).field == "request_id"


async def test_cancel_ends_a_request_without_an_answer(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, load=loader(FakeCrossEncoder(before_score=gate))) as served:
        call = served.rerank.RerankSession()
        await write(call, *whole("r"), cancel("unknown"))
        await gate.reached.wait()
        await write(call, cancel("r"), start("s"))
        frames = await read_until(call, "started", "s")
        gate.opened.set()
        await write(call, candidates("s"), end("s"))
        frames += await read_until(call, "final", "s")
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    assert not any(frame.ranking.final for frame in frames if frame.request_id == "r")
    assert "failed" not in kinds(frames, "r") + kinds(frames, "unknown")


async def test_too_many_open_requests_back_off(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        call = served.rerank.RerankSession()
        await write(call, *(start(str(number)) for number in range(LIMIT)))
        await write(call, *whole("late"))
        frames = await read_until(call, "back_off", "late")
        assert frames[-1].back_off.retry_delay.ToTimedelta().total_seconds() > 0
        await write(call, candidates("0"), end("0"))
        await read_until(call, "final", "0")
        await write(call, *whole("late"))
        await read_until(call, "final", "late")
        call.cancel()


async def test_too_much_open_text_backs_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_OPEN_TEXT_BYTES", 60)
    async with serving(tmp_path) as served:
        call = served.rerank.RerankSession()
        await write(call, start("a"), candidates("a"), *whole("b"))
        await read_until(call, "back_off", "b")
        await write(call, end("a"))
        frames = await read_until(call, "final", "a")
        assert "failed" not in kinds(frames, "b")
        call.cancel()


async def test_half_close_drops_what_has_no_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        frames = await answers(served, start("open"), candidates("open"), *whole("done"))
    assert kinds(frames, "open") == ["started"]
    assert frames[-1].request_id == "done"
    assert frames[-1].ranking.final


async def test_the_timeout_of_a_request_leaves_out_later_stages(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, load=loader(FakeCrossEncoder(before_score=gate))) as served:
        frames = await answers(served, *whole("r", timeout=Duration(nanos=200_000_000)))
        gate.opened.set()
    assert frames[-1].ranking.final
    assert frames[-1].ranking.degraded
    assert frames[-1].ranking.stage == STAGE_INPUT


async def test_a_pipeline_failure_is_in_band(tmp_path: Path) -> None:
    async def run(*_: Any) -> Any:
        raise RuntimeError("a secret of the server's")
        yield

    def load(*arguments: Any) -> Any:
        loaded = loader()(*arguments)
        loaded.parts.serving.rerank = run  # type: ignore[method-assign]
        return loaded

    async with serving(tmp_path, load=load) as served:
        frames = await answers(served, *whole("r"))
    refusal = refusal_of(frames[-1])
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert "secret" not in refusal.message


async def test_draining_finishes_what_was_started_and_refuses_the_rest(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        call = served.rerank.RerankSession()
        await write(call, start("r"), candidates("r"))
        await read_until(call, "started", "r")
        served.stop.set()
        await read_until(call, "shutting_down", "")
        await write(call, start("late"))
        late = refusal_of((await read_until(call, "failed", "late"))[-1])
        await write(call, end("r"))
        await read_until(call, "final", "r")
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        await served.task
    assert late.code is grpc.StatusCode.UNAVAILABLE
    assert late.reason == "DRAINING"
    assert late.retry_seconds is not None


async def test_an_idle_session_ends_when_the_server_drains(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        call = served.rerank.RerankSession()
        await write(call, *whole("r"))
        await read_until(call, "final", "r")
        served.stop.set()
        await read_until(call, "shutting_down", "")
        assert await call.read() is grpc.aio.EOF
        await served.task


async def test_cancelling_the_stream_cancels_its_requests(tmp_path: Path, caplog: Any) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def run(*_: Any) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        yield

    def load(*arguments: Any) -> Any:
        loaded = loader()(*arguments)
        loaded.parts.serving.rerank = run  # type: ignore[method-assign]
        return loaded

    async with serving(tmp_path, load=load) as served:
        call = served.rerank.RerankSession()
        await write(call, *whole("r"))
        await started.wait()
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 10)
    assert "unexpected" not in caplog.text


async def test_texts_of_a_session_are_found_by_digest_in_another(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"how to make green tea").digest()
    lean = Candidate(doc_id="b", content_digest=digest)
    whole_text = Candidate(doc_id="b", content_digest=digest, text="how to make green tea")
    states = []
    async with serving(tmp_path) as served:
        for candidate in (lean, whole_text, lean):
            chunk = SessionCandidates(candidates=[candidate])
            frames = await answers(
                served,
                start("r"),
                RerankSessionRequest(request_id="r", candidates=chunk),
                end("r"),
            )
            states.append(frames[-1].ranking.hits[0].unscored_reason)
    assert states == [UNSCORED_REASON_NEEDS_TEXT, 0, 0]


async def test_work_beyond_what_is_accepted_backs_off(tmp_path: Path) -> None:
    gate = Gate()
    config = dataclasses.replace(CONFIG, admission=AdmissionConfig(backlog_seconds=1e-6))
    async with serving(tmp_path, config, loader(FakeCrossEncoder(before_score=gate))) as served:
        call = served.rerank.RerankSession(metadata=[("sidecar-caller", "web")])
        await write(call, *whole("a"))
        await gate.reached.wait()
        await write(call, *whole("b"))
        frames = await read_until(call, "back_off", "b")
        assert frames[-1].back_off.retry_delay.ToTimedelta().total_seconds() > 0
        assert kinds(frames, "b") == ["started", "back_off"]
        gate.opened.set()
        await read_until(call, "final", "a")
        await write(call, *whole("b"))
        await read_until(call, "final", "b")
        await call.done_writing()


async def test_a_minimum_stage_that_is_not_reached_fails_the_request_alone(tmp_path: Path) -> None:
    broken = FakeCrossEncoder(raise_words=["tea", "paint", "language"])
    options = RankingOptions(minimum_stage=STAGE_SECOND_RERANK)
    async with serving(tmp_path, load=loader(second=broken)) as served:
        frames = await answers(served, *whole("strict", options=options), *whole("any"))
    assert kinds(frames, "strict") == ["started", "failed"]
    refusal = refusal_of(next(f for f in frames if f.HasField("failed")))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "STAGE_UNAVAILABLE"
    assert refusal.retry_seconds is not None
    assert next(f for f in frames if f.ranking.final).request_id == "any"


class StalledStream:
    """A stream of frames to a client that stops reading after the first, until it is told to."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.written: list[RerankSessionResponse] = []

    async def write(self, frame: RerankSessionResponse) -> None:
        self.written.append(frame)
        await self.reading.wait()

    def time_remaining(self) -> float | None:
        return None


class ThreeRankings:
    """What answers with three rankings, and says when it has given the last."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    async def rerank(self, query: RerankQuery, deadline: object) -> AsyncIterator[Ranking]:
        for revision in (1, 2, 3):
            yield Ranking(revision, Stage.INPUT, revision == 3, False, (), ())
        self.done.set()


async def test_a_client_that_reads_slowly_gets_the_newest_ranking() -> None:
    stream, rankings = StalledStream(), ThreeRankings()
    unlogged = SimpleNamespace(show=lambda ranking, asked: "")
    parts: Any = SimpleNamespace(serving=rankings, feedback=unlogged)

    async def requests() -> AsyncIterator[RerankSessionRequest]:
        for frame in whole("r"):
            yield frame

    deadlines, draining = Deadlines(CONFIG.server), asyncio.Event()
    served = session.Session(parts, LIMIT, deadlines, draining, stream, Texts(0), "")  # type: ignore[arg-type]
    running = asyncio.create_task(served.run(requests()))
    await asyncio.wait_for(rankings.done.wait(), 10)
    assert [frame.WhichOneof("frame") for frame in stream.written] == ["started"]
    stream.reading.set()
    await running
    assert [frame.ranking.revision for frame in stream.written[1:]] == [3]
    assert stream.written[-1].ranking.final
