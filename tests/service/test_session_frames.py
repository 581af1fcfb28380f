"""A session under any order of frames, right or wrong: it ends, and every answer is in order.

The pipeline is a fake that takes a random number of turns of the event loop, fails or is full, so
that frames, failures and rankings of few ids interleave in every way.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from hypothesis import given, settings
from hypothesis import strategies as st
from serving import CONFIG

from sidecar.errors import OverloadedError
from sidecar.service.deadlines import Deadlines
from sidecar.service.session import Session
from sidecar.service.texts import Texts
from sidecar.types import Ranking, RerankQuery, Stage
from sidecar.v1.rerank_pb2 import (
    Candidate,
    RerankSessionRequest,
    RerankSessionResponse,
    SessionCancel,
    SessionCandidates,
    SessionEnd,
    SessionStart,
)

OPEN_LIMIT = 2
FRAMES = {
    "start": {"start": SessionStart(query="q")},
    "bad start": {"start": SessionStart()},
    "candidates": {"candidates": SessionCandidates(candidates=[Candidate(doc_id="x", text="t")])},
    "no candidates": {"candidates": SessionCandidates()},
    "end": {"end": SessionEnd()},
    "cancel": {"cancel": SessionCancel()},
    "nothing": {},
}
frames = st.builds(
    lambda request_id, kind: RerankSessionRequest(request_id=request_id, **FRAMES[kind]),  # type: ignore[arg-type]
    st.sampled_from("abc"),
    st.sampled_from([*FRAMES, "start", "candidates", "end"]),
)
whole = st.sampled_from("abc").map(
    lambda one: [
        RerankSessionRequest(request_id=one, **FRAMES[kind])  # type: ignore[arg-type]
        for kind in ("start", "candidates", "end")
    ]
)
streams = st.lists(whole | frames.map(lambda frame: [frame]), max_size=25).map(
    lambda parts: [frame for part in parts for frame in part]
)


class RandomPipeline:
    """Rankings after random waits, or an error."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.running = 0

    async def run(self, query: RerankQuery, deadline: object) -> AsyncIterator[Ranking]:
        self.running += 1
        try:
            outcome = self._random.choice(["final", "final", "final", "full", "broken"])
            for revision in (1, 2):
                await self.wait()
                yield Ranking(revision, Stage.INPUT, False, False, (), ())
            if outcome == "full":
                raise OverloadedError("full", 0.1)
            if outcome == "broken":
                raise RuntimeError("broken")
            yield Ranking(3, Stage.INPUT, True, False, (), ())
        finally:
            self.running -= 1

    async def wait(self) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)


class Recorder:
    """The client's side: sends frames, keeps what comes back."""

    def __init__(self, pipeline: RandomPipeline) -> None:
        self._pipeline = pipeline
        self.received: list[RerankSessionResponse] = []

    async def requests(
        self, sent: list[RerankSessionRequest], draining: asyncio.Event, drain_at: int
    ) -> AsyncIterator[RerankSessionRequest]:
        for number, frame in enumerate(sent):
            if number == drain_at:
                draining.set()
            await self._pipeline.wait()
            yield frame

    async def write(self, frame: RerankSessionResponse) -> None:
        await self._pipeline.wait()
        self.received.append(frame)

    def time_remaining(self) -> float | None:
        return None


async def play(
    sent: list[RerankSessionRequest], seed: int, drain_at: int
) -> tuple[list[RerankSessionResponse], int]:
    """What a session answers, and the pipelines that it left running."""
    pipeline, draining = RandomPipeline(seed), asyncio.Event()
    recorder = Recorder(pipeline)
    deadlines, texts = Deadlines(CONFIG.server), Texts(0)
    session = Session(pipeline, OPEN_LIMIT, deadlines, draining, recorder, texts, "")  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        await session.run(recorder.requests(sent, draining, drain_at))
    return recorder.received, pipeline.running


def kinds_of(received: list[RerankSessionResponse], request_id: str) -> list[str]:
    return [
        "final" if frame.ranking.final else str(frame.WhichOneof("frame"))
        for frame in received
        if frame.request_id == request_id
    ]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(sent=streams, seed=st.integers(0, 2**16), drain_at=st.integers(0, 60))
def test_every_order_of_frames_is_answered_in_order(
    sent: list[RerankSessionRequest], seed: int, drain_at: int
) -> None:
    received, running = asyncio.run(play(sent, seed, drain_at))
    assert running == 0
    assert all(frame.WhichOneof("frame") for frame in received)
    drained = [frame for frame in received if frame.HasField("shutting_down")]
    assert len(drained) <= (1 if drain_at < len(sent) else 0)
    for request_id in "abc":
        cancelled = any(f.HasField("cancel") for f in sent if f.request_id == request_id)
        check_answers(kinds_of(received, request_id), cancelled)


def check_answers(kinds: list[str], cancelled: bool) -> None:
    """started, rankings, an end; or an end alone. A cancelled request may stop anywhere."""
    open_ = False
    for kind in kinds:
        if kind == "started":
            assert not open_ or cancelled, kinds
            open_ = True
        elif kind == "ranking":
            assert open_ or cancelled, kinds
        elif kind == "final":
            assert open_ or cancelled, kinds
            open_ = False
        else:
            assert kind in ("failed", "back_off"), kinds
            open_ = False


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    ids=st.lists(st.sampled_from("abcdef"), unique=True, max_size=OPEN_LIMIT),
    seed=st.integers(0, 2**16),
)
def test_every_good_request_has_exactly_one_end(ids: list[str], seed: int) -> None:
    sent = [
        RerankSessionRequest(request_id=one, **FRAMES[kind])  # type: ignore[arg-type]
        for kind in ("start", "candidates", "end")
        for one in ids
    ]
    received, _ = asyncio.run(play(sent, seed, drain_at=-1))
    for one in ids:
        kinds = kinds_of(received, one)
        assert kinds[0] == "started"
        assert kinds[-1] in ("final", "failed", "back_off")
        assert set(kinds[1:-1]) <= {"ranking"}
