"""Who answers: production, a canary for some sessions, or both interleaved.

request -> route of its session -> a variant's pipeline -> (team draft) -> (exploration) -> rankings

`Lineup` is immutable: a request goes through on the one that it found, whatever is exchanged
meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from sidecar.errors import DeadlineError, ModelError, SidecarError, StorageError
from sidecar.pipeline.assignment import NO_CANARY, Route, Shares, route_of
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.exploration import explore
from sidecar.pipeline.interleaving import team_draft
from sidecar.pipeline.streams import last_ranking
from sidecar.pipeline.variant import Variant
from sidecar.recall.base import Recaller
from sidecar.types import Query, Ranking, RankingOptions, RerankQuery

Rankings = AsyncGenerator[Ranking]
_AT_FAULT = (ModelError, StorageError, DeadlineError)  # other errors are the request's
_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Who watches how the variants do while there is a canary."""

    def answered(self, variant: str, seconds: float, failed: bool) -> None:
        """A variant has answered, or failed to; `failed`: that, or degraded."""


@dataclass(frozen=True, slots=True)
class Lineup:
    """What answers at one moment."""

    production: Variant
    canary: Variant | None = None
    shares: Shares = NO_CANARY
    observer: Observer | None = None

    def route(self, options: RankingOptions, has_vector: bool) -> Route:
        """Who answers a request. A caller's query vector is one of production's bi-encoder."""
        if self.canary is None or options.unlogged or has_vector:
            return Route.PRODUCTION
        return route_of(options.visitor.session_id, self.shares)


class Serving:
    """Answers requests by the variants of the moment. For one event loop."""

    def __init__(self, production: Variant, exploration_share: float = 0.0) -> None:
        self.lineup = Lineup(production)
        self._exploration_share = exploration_share
        self._random = random.Random()
        self._retiring: set[asyncio.Task[None]] = set()

    async def warm_up(self) -> None:
        """Measures the pace of production's models; before the first request."""
        await self.lineup.production.rerank.warm_up()

    def search(self, recaller: Recaller, query: Query, deadline: Deadline) -> Rankings:
        """As SearchPipeline.run."""
        has_vector = query.vector is not None
        return self._answer(
            query.options, has_vector, lambda variant: variant.search.run(recaller, query, deadline)
        )

    def rerank(self, query: RerankQuery, deadline: Deadline) -> Rankings:
        """As RerankPipeline.run."""
        return self._answer(
            query.options, False, lambda variant: variant.rerank.run(query, deadline)
        )

    def flip(self, lineup: Lineup) -> None:
        """New requests go to another line-up. Variants that it has not are closed once the requests
        on them have ended."""
        before, self.lineup = self.lineup, lineup
        staying = (lineup.production, lineup.canary)
        for variant in (before.production, before.canary):
            if variant is not None and variant not in staying:
                task = asyncio.create_task(variant.retire())
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)

    async def wait_retired(self) -> None:
        """Until all that was taken out is closed."""
        await asyncio.gather(*self._retiring)

    def close(self) -> None:
        """Closes the variants; no request is under way any more. Blocks."""
        for variant in (self.lineup.canary, self.lineup.production):
            if variant is not None:
                variant.close()

    async def _answer(
        self, options: RankingOptions, has_vector: bool, run: Callable[[Variant], Rankings]
    ) -> Rankings:
        lineup = self.lineup
        match lineup.route(options, has_vector):
            case Route.CANARY if lineup.canary is not None:
                rankings = _observed(lineup, lineup.canary, run)
            case Route.INTERLEAVED if lineup.canary is not None:
                rankings = _interleaved(lineup, lineup.canary, run, self._random)
            case _:
                rankings = _observed(lineup, lineup.production, run)
        async with contextlib.aclosing(rankings):
            async for ranking in rankings:
                if ranking.final and not options.unlogged:
                    share = self._exploration_share
                    ranking = explore(ranking, options.top_k, share, self._random)
                yield ranking


async def _observed(
    lineup: Lineup, variant: Variant, run: Callable[[Variant], Rankings]
) -> Rankings:
    """The rankings of one variant. The observer is told of each that was answered or failed; not of
    one whose caller left, or was refused."""
    started = time.monotonic()

    def tell(failed: bool) -> None:
        if lineup.observer is not None:
            lineup.observer.answered(variant.name, time.monotonic() - started, failed)

    with variant.entered():
        try:
            async with contextlib.aclosing(run(variant)) as rankings:
                async for ranking in rankings:
                    if ranking.final:
                        tell(failed=ranking.degraded)
                    yield dataclasses.replace(ranking, variant=variant.name)
        except SidecarError as error:
            if isinstance(error, _AT_FAULT):
                tell(failed=True)
            raise
        except Exception:
            tell(failed=True)
            raise


async def _interleaved(
    lineup: Lineup, canary: Variant, run: Callable[[Variant], Rankings], source: random.Random
) -> Rankings:
    """Production's rankings, the final one drafted from both, unless the canary fails."""
    other = asyncio.create_task(_last_of(_observed(lineup, canary, run)))
    try:
        async with contextlib.aclosing(_observed(lineup, lineup.production, run)) as rankings:
            async for ranking in rankings:
                if not ranking.final:
                    yield ranking
                    continue
                theirs = await other
                yield ranking if theirs is None else team_draft(ranking, theirs, source)
    finally:
        other.cancel()


async def _last_of(rankings: Rankings) -> Ranking | None:
    """The last ranking; None if there is none."""
    try:
        async with contextlib.aclosing(rankings):
            return await last_ranking(rankings)
    except Exception as error:
        _log.warning("the canary's half of an interleaved ranking failed: %r", error)
        return None
