"""What a unary writer does with a stream of rankings."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sidecar.types import Ranking


async def last_ranking(rankings: AsyncIterator[Ranking]) -> Ranking:
    """The last ranking of a stream, which always has at least one."""
    last = None
    async for ranking in rankings:
        last = ranking
    if last is None:
        raise RuntimeError("a pipeline ended without a ranking")
    return last
