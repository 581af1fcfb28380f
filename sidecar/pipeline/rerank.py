"""How a candidate list that the caller brings travels: its own order, a lexical signal on request,
then the rerank stages.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence

from sidecar.config import Config
from sidecar.pipeline.admission import Admission
from sidecar.pipeline.cascade import Cascade, Job
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.ordering import hits_of_fusion, hits_of_input, leg_scores
from sidecar.pipeline.standing import Standing
from sidecar.recall.analyzer_choice import choose_analyzer
from sidecar.recall.base import Recalled
from sidecar.recall.fusion import fuse
from sidecar.recall.list_scorer import score_list
from sidecar.rerank.reranker import Reranker
from sidecar.types import (
    Hit,
    Ranking,
    RerankQuery,
    Stage,
    StageReason,
    StageReport,
    StageState,
)


class RerankPipeline:
    """Reranks candidate lists. One instance serves all requests."""

    def __init__(
        self,
        first: Reranker | None,
        second: Reranker | None,
        config: Config,
        admission: Admission | None = None,
    ) -> None:
        self._config = config
        self._cascade = Cascade(first, second, config.language, config.planner)
        self._admission = admission or Admission(config.admission)

    async def warm_up(self) -> None:
        """As `Cascade.warm_up`; for the search pipeline, too, which asks the same models."""
        await self._cascade.warm_up()

    async def run(self, query: RerankQuery, deadline: Deadline) -> AsyncGenerator[Ranking]:
        """The rankings of a candidate list, the last one final. Begins with the INPUT or FUSED
        order, whatever the deadline, unless the request wants more at least.

        Raises OverloadedError before all else, and what `Cascade.run` raises.
        """
        job = Job(query.text, query.options, query.caller, deadline)
        texts = {candidate.doc_id: candidate.passage for candidate in query.candidates}
        standing = _input_standing(query)
        in_order = [texts[hit.doc_id] for hit in standing.hits]
        seconds = self._cascade.seconds_asked(job, in_order)

        async def passages_of(doc_ids: Sequence[str]) -> Mapping[str, str | None]:
            return {doc_id: texts[doc_id] for doc_id in doc_ids}

        with self._admission.admit(query.caller, query.options.request_class, seconds):
            if query.lexical_signal and query.options.last_stage >= Stage.FUSED:
                standing = await asyncio.to_thread(self._with_lexical_signal, query, standing)
            stages = self._cascade.run(job, standing, passages_of)
            async with contextlib.aclosing(stages):
                async for ranking in stages:
                    yield ranking

    def _with_lexical_signal(self, query: RerankQuery, standing: Standing) -> Standing:
        """The INPUT order fused with that of BM25 over the list, which gives no id twice."""
        started = time.perf_counter()
        analyzer = choose_analyzer([query.text])
        scores = score_list(query.text, [c.passage or "" for c in query.candidates], analyzer)
        by_id = dict(zip((c.doc_id for c in query.candidates), scores, strict=True))
        given = [Recalled(hit.doc_id, _input_score(hit)) for hit in standing.hits]
        lexical = sorted(
            (Recalled(hit.doc_id, by_id[hit.doc_id]) for hit in standing.hits),
            key=lambda one: -one.score,
        )
        matched = [one for one in lexical if one.score > 0.0]
        fused = fuse(matched, given, self._config.fusion)
        lexical_scores = leg_scores({Stage.LEXICAL: matched})
        earlier = {
            hit.doc_id: (*hit.scores, *lexical_scores.get(hit.doc_id, ())) for hit in standing.hits
        }
        hits = hits_of_fusion(fused, earlier)
        milliseconds = (time.perf_counter() - started) * 1000.0
        count = len(standing.hits)
        reports = (
            *standing.reports,
            _report(Stage.LEXICAL, count, len(matched), milliseconds),
            _report(Stage.FUSED, count + len(matched), len(hits), 0.0),
        )
        return Standing(Stage.FUSED, hits, reports)


def _input_standing(query: RerankQuery) -> Standing:
    hits = hits_of_input(query.candidates)
    return Standing(Stage.INPUT, hits, (_report(Stage.INPUT, len(hits), len(hits), 0.0),))


def _input_score(hit: Hit) -> float:
    """The caller's score, or one that falls with the rank so that convex fusion can use it."""
    return hit.score if hit.score is not None else 1.0 / hit.rank


def _report(
    stage: Stage, candidates_in: int, candidates_out: int, milliseconds: float
) -> StageReport:
    reason = StageReason.NO_QUERY_TERMS if candidates_out == 0 else StageReason.NONE
    state = StageState.SKIPPED if candidates_out == 0 else StageState.COMPLETE
    return StageReport(
        stage,
        state,
        reason,
        candidates_in=candidates_in,
        candidates_out=candidates_out,
        elapsed_milliseconds=milliseconds,
    )
