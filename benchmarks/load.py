"""Searches that arrive at random at a running sidecar, whatever it does meanwhile, and their times.

An open loop: a search is due when it is due, not when the one before was answered, and its time
counts from then, so that calls that wait behind slow ones are not left out of the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from sidecar.v1 import ranking_pb2, search_pb2, search_pb2_grpc

Times = npt.NDArray[np.float64]
TIMEOUT_SECONDS = 30.0
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """One search: when it was due, sent and answered, and the revisions that answered, by model."""

    session: str
    due: float
    sent: float
    answered: float
    revisions: dict[str, str]
    failed: str = ""
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """The calls that were due in some time; milliseconds."""

    calls: int
    p50: float
    p99: float


class Load:
    """Searches of one collection, each of a session of its own, without caches.

    `stages`: the stage that tells of a model's revision, by the model's name in the registry.
    `rate`, searches a second, may be changed while they arrive.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        collection: str,
        queries: Sequence[str],
        stages: Mapping[str, int],
        seed: int,
    ) -> None:
        self.calls: list[Call] = []
        self.rate = 0.0
        self.random = random.Random(seed)
        self._search = search_pb2_grpc.SearchServiceStub(channel)
        self._collection = collection
        self._queries = queries
        self._stages = stages

    @contextlib.asynccontextmanager
    async def arriving(self, rate: float) -> AsyncIterator[None]:
        """Searches arrive inside."""
        self.rate = rate
        load = asyncio.create_task(self._arrive())
        try:
            yield
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)

    async def _arrive(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            due = time.perf_counter()
            while True:
                due += self.random.expovariate(self.rate)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.create_task(self.ask(f"{self.random.getrandbits(64):x}", due))

    async def ask(self, session: str, due: float) -> Call:
        """One search of a session."""
        options = ranking_pb2.RankingOptions(
            cache=ranking_pb2.CACHE_POLICY_BYPASS, visitor=ranking_pb2.Visitor(session_id=session)
        )
        query = self.random.choice(self._queries)
        request = search_pb2.SearchRequest(
            collection=self._collection, query=query, options=options
        )
        sent = time.perf_counter()
        try:
            reply = await self._search.Search(request, timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            call = Call(session, due, sent, time.perf_counter(), {}, error.code().name)
        else:
            ranking, now = reply.ranking, time.perf_counter()
            call = Call(session, due, sent, now, self._revisions(ranking), "", ranking.degraded)
        self.calls.append(call)
        return call

    def _revisions(self, ranking: ranking_pb2.Ranking) -> dict[str, str]:
        """The revision of each model that took part, by its name in the registry."""
        found = {report.stage: report.model_revision for report in ranking.stages}
        return {model: found[stage] for model, stage in self._stages.items() if found.get(stage)}


def to_window(times: Times) -> Window:
    """The figures of one."""
    return Window(len(times), percentile(times, 50), percentile(times, 99))


def between(calls: Sequence[Call], start: float, end: float) -> list[Call]:
    """The calls that were due in a window."""
    return [call for call in calls if start <= call.due < end]


def milliseconds(calls: Sequence[Call]) -> Times:
    """From when they were due to their answer."""
    return np.array([1000.0 * (call.answered - call.due) for call in calls if not call.failed])


def percentile(times: Times, at: float) -> float:
    """NaN without any."""
    return float(np.percentile(times, at)) if len(times) else float("nan")


def ratio_of(during: Times, before: Times) -> tuple[float, float, float]:
    """p99 of one to that of the other, and the 5th and 95th percentile of it over draws."""
    if not (len(during) and len(before)):
        return (float("nan"),) * 3
    source = np.random.default_rng(0)
    draws = [
        percentile(source.choice(during, len(during)), 99)
        / percentile(source.choice(before, len(before)), 99)
        for _ in range(DRAWS)
    ]
    least, most = np.percentile(draws, [5, 95])
    return percentile(during, 99) / percentile(before, 99), float(least), float(most)
