"""Facets of a search: counted in a thread, beside its rerankers, and told with its last ranking."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import AsyncGenerator, Sequence

from sidecar.errors import DeadlineError
from sidecar.pipeline.deadline import Deadline
from sidecar.recall.collection import Collection
from sidecar.recall.facets import recalled_facets
from sidecar.service.calls import Threads
from sidecar.types import Facet, FacetRequest, FacetScope, Filter, Ranking


async def with_facets(
    rankings: AsyncGenerator[Ranking],
    requests: Sequence[FacetRequest],
    filter: Filter | None,
    collection: Collection,
    threads: Threads,
    deadline: Deadline,
    recalled: asyncio.Future[Sequence[str]] | None = None,
) -> AsyncGenerator[Ranking]:
    """The rankings of a search, the final one with the facets that were asked for.

    They are counted once the ids `recalled` are there, or with the first ranking, which may be the
    last. Raises DeadlineError if they are not counted in time, and what Collection.facets raises.
    """
    if recalled is None:
        recalled = asyncio.get_running_loop().create_future()
    counting = asyncio.ensure_future(_counted(requests, filter, collection, threads, recalled))
    try:
        async with contextlib.aclosing(rankings):
            async for ranking in rankings:
                if not recalled.done():
                    recalled.set_result(ranking.recalled)
                if ranking.final:
                    facets = await _in_time(counting, deadline)
                    ranking = dataclasses.replace(ranking, facets=facets)
                yield ranking
    finally:
        _end(counting)


async def _counted(
    requests: Sequence[FacetRequest],
    filter: Filter | None,
    collection: Collection,
    threads: Threads,
    recalled: asyncio.Future[Sequence[str]],
) -> tuple[Facet, ...]:
    return await threads.run(count_facets, requests, filter, collection, await recalled)


def count_facets(
    requests: Sequence[FacetRequest],
    filter: Filter | None,
    collection: Collection,
    recalled: Sequence[str],
) -> tuple[Facet, ...]:
    """Checked facets in the order asked, each in its scope; `recalled`: ids of the documents of the
    fused ranking."""
    whole = [one for one in requests if one.scope is FacetScope.MATCHING]
    part = [one for one in requests if one.scope is FacetScope.RECALLED]
    matching = iter(collection.facets(whole, filter) if whole else ())
    found = collection.attributes(recalled) if part else {}
    counted = iter(recalled_facets(part, found.values(), collection.schema))
    return tuple(
        next(matching if one.scope is FacetScope.MATCHING else counted) for one in requests
    )


async def _in_time(
    counting: asyncio.Future[tuple[Facet, ...]], deadline: Deadline
) -> tuple[Facet, ...]:
    left = deadline.remaining()
    done, _ = await asyncio.wait({counting}, timeout=None if math.isinf(left) else max(left, 0.0))
    if not done:
        raise DeadlineError(
            "the deadline passed before the facets were counted: allow more, or ask for fewer"
        )
    return counting.result()


def _end(counting: asyncio.Future[tuple[Facet, ...]]) -> None:
    """Nobody asks any more for what is still to come, nor for the second of two errors."""
    if counting.done() and not counting.cancelled():
        counting.exception()
    counting.cancel()
