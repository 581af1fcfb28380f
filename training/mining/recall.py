"""Where negatives are recalled from: the sidecar that serves, or the same recall in this process.

`LiveRecall` asks a running sidecar. `OwnRecall` searches the run's corpus by the sidecar's own
pipeline: where no sidecar runs, and with a bi-encoder of this run that does not serve yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from sidecar.errors import ModelError
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.search import SearchPipeline
from sidecar.recall.base import Recaller
from sidecar.types import Hit, Query, Ranking, RankingOptions, RequestClass, Stage, StageState
from training.serving.client import RecallHit, SidecarClient

QUERY_TIMEOUT_SECONDS = 600.0


class Recall(Protocol):
    """The `depth` best documents after fusion of each query, in the order of the queries.

    Raises ModelError where a leg of recall failed: half a recall is none.
    """

    def recall(self, queries: Sequence[str], depth: int) -> list[list[RecallHit]]: ...


class LiveRecall:
    """Of a running sidecar."""

    def __init__(self, client: SidecarClient) -> None:
        self._client = client

    def recall(self, queries: Sequence[str], depth: int) -> list[list[RecallHit]]:
        """As Recall."""
        found = self._client.recall(queries, depth)
        return [found[query] for query in queries]


class OwnRecall:
    """Of a pipeline and a collection in this process, `at_once` queries at a time."""

    def __init__(self, pipeline: SearchPipeline, collection: Recaller, at_once: int) -> None:
        self._pipeline = pipeline
        self._collection = collection
        self._at_once = at_once

    def recall(self, queries: Sequence[str], depth: int) -> list[list[RecallHit]]:
        """As Recall."""
        return asyncio.run(self._recall(queries, depth))

    async def _recall(self, queries: Sequence[str], depth: int) -> list[list[RecallHit]]:
        slots = asyncio.Semaphore(self._at_once)

        async def one(text: str) -> list[RecallHit]:
            async with slots:
                return await self._search(text, depth)

        return await asyncio.gather(*map(one, queries))

    async def _search(self, text: str, depth: int) -> list[RecallHit]:
        options = RankingOptions(
            top_k=depth,
            last_stage=Stage.FUSED,
            request_class=RequestClass.OFFLINE,
            unlogged=True,
        )
        query, deadline = Query(text, options=options), Deadline.after(QUERY_TIMEOUT_SECONDS)
        last: Ranking | None = None
        async for ranking in self._pipeline.run(self._collection, query, deadline):
            last = ranking
        assert last is not None
        for report in last.stages:
            if report.state is StageState.FAILED:
                raise ModelError(f"recall in this process is not whole: {report.detail}")
        return [_to_recall_hit(hit) for hit in last.hits[:depth]]


def _to_recall_hit(hit: Hit) -> RecallHit:
    scores = {each.stage: each.score for each in hit.scores}
    assert hit.score is not None
    lexical, dense = scores.get(Stage.LEXICAL), scores.get(Stage.DENSE)
    return RecallHit(hit.doc_id, hit.rank, hit.score, lexical, dense)
