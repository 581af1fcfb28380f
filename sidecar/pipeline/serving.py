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

from sidecar.errors import (
    DeadlineError,
    ModelError,
    SidecarError,
    StageUnavailableError,
    StorageError,
)
from sidecar.pipeline.assignment import NO_CANARY, Route, Shares, route_of
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.exploration import explore
from sidecar.pipeline.interleaving import team_draft
from sidecar.pipeline.search import OnRecalled
from sidecar.pipeline.streams import last_ranking
from sidecar.pipeline.variant import Variant
from sidecar.recall.base import Recaller
from sidecar.types import Query, Ranking, RankingOptions, RerankQuery

Rankings = AsyncGenerator[Ranking]
# A variant's rankings, and whether its recall is the one that is told of.
Run = Callable[[Variant, bool], Rankings]
# Other errors are the request's.
_AT_FAULT = (ModelError, StorageError, DeadlineError, StageUnavailableError)
# A pipeline ends at its deadline, and then needs a moment to say so.
GRACE_SECONDS = 0.005
_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Who watches how the variants do while there is a canary."""

    def answered(
        self, variant: str, seconds: float, failed: bool, interleaved: bool = False
    ) -> None:
        """A variant has answered, or failed to; `failed`: that, or degraded. `interleaved`: both
        worked on the request at once. Not told of requests that only production may answer."""


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

    def observer_of(self, options: RankingOptions, has_vector: bool) -> Observer | None:
        """Who watches a request: none where only production may answer, which would compare unlike
        requests."""
        return None if options.unlogged or has_vector else self.observer


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

    def search(
        self,
        recaller: Recaller,
        query: Query,
        deadline: Deadline,
        on_recalled: OnRecalled | None = None,
    ) -> Rankings:
        """As SearchPipeline.run; of two that are interleaved, `on_recalled` is production's."""

        def run(variant: Variant, leads: bool) -> Rankings:
            told = on_recalled if leads else None
            return variant.search.run(recaller, query, deadline, told)

        per_group = query.grouping.per_group if query.grouping is not None else None
        return self._answer(query.options, query.vector is not None, deadline, run, per_group)

    def rerank(self, query: RerankQuery, deadline: Deadline) -> Rankings:
        """As RerankPipeline.run."""

        def run(variant: Variant, _leads: bool) -> Rankings:
            return variant.rerank.run(query, deadline)

        return self._answer(query.options, False, deadline, run)

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
        self,
        options: RankingOptions,
        has_vector: bool,
        deadline: Deadline,
        run: Run,
        per_group: int | None = None,
    ) -> Rankings:
        lineup = self.lineup
        observer = lineup.observer_of(options, has_vector)
        match lineup.route(options, has_vector):
            case Route.CANARY if lineup.canary is not None:
                rankings = _observed(lineup.canary, run, observer)
            case Route.INTERLEAVED if lineup.canary is not None:
                both = (lineup.production, lineup.canary)
                rankings = _interleaved(both, run, observer, deadline, self._random, per_group)
            case _:
                rankings = _observed(lineup.production, run, observer)
        async with contextlib.aclosing(rankings):
            async for ranking in rankings:
                if ranking.final and not options.unlogged:
                    share = self._exploration_share
                    ranking = explore(ranking, options.top_k, share, self._random)
                yield ranking


async def _observed(
    variant: Variant,
    run: Run,
    observer: Observer | None,
    interleaved: bool = False,
    leads: bool = True,
) -> Rankings:
    """The rankings of one variant. The observer is told of each that was answered or failed; not of
    one whose caller left, or was refused."""
    started = time.monotonic()

    def tell(failed: bool) -> None:
        if observer is not None:
            observer.answered(variant.name, time.monotonic() - started, failed, interleaved)

    with variant.entered():
        try:
            async with contextlib.aclosing(run(variant, leads)) as rankings:
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
    both: tuple[Variant, Variant],
    run: Run,
    observer: Observer | None,
    deadline: Deadline,
    source: random.Random,
    per_group: int | None,
) -> Rankings:
    """Production's rankings, the final one drafted from both, unless the canary fails."""
    production, canary = both

    def run_in_time(variant: Variant, leads: bool) -> Rankings:
        return _until(deadline, run(variant, leads))

    theirs_only = _observed(canary, run_in_time, observer, True, leads=False)
    other = asyncio.create_task(_last_of(theirs_only))
    try:
        mine = _observed(production, run, observer, True)
        async with contextlib.aclosing(mine) as rankings:
            async for ranking in rankings:
                if not ranking.final:
                    yield ranking
                    continue
                theirs = await other
                yield ranking if theirs is None else team_draft(ranking, theirs, source, per_group)
    finally:
        other.cancel()


async def _until(deadline: Deadline, rankings: Rankings) -> Rankings:
    """The rankings. Raises DeadlineError if they do not end by themselves at the deadline."""
    try:
        async with asyncio.timeout(deadline.remaining() + GRACE_SECONDS):
            async with contextlib.aclosing(rankings):
                async for ranking in rankings:
                    yield ranking
    except TimeoutError:
        raise DeadlineError("the canary did not end in time") from None


async def _last_of(rankings: Rankings) -> Ranking | None:
    """The last ranking; None if there is none."""
    try:
        async with contextlib.aclosing(rankings):
            return await last_ranking(rankings)
    except Exception as error:
        _log.warning("the canary's half of an interleaved ranking failed: %r", error)
        return None
