"""How one search travels: both legs of recall, fusion, boosts, the rerank stages, then the order
that is shown (shaping.py).

A leg that cannot run, or is late (legs.py), leaves the other alone; the report says why. Only when
no leg answers is there no ranking, and the caller gets the error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import numpy as np

from sidecar.config import Config
from sidecar.errors import BackendUnavailableError, DeadlineError, ModelError, StorageError
from sidecar.models.base import BiEncoder
from sidecar.models.language import detect_language
from sidecar.pipeline.admission import Admission
from sidecar.pipeline.boosting import boosted, factors_of, is_boosted
from sidecar.pipeline.cascade import Cascade, Job, Passages
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.grouping import cut_grouped, with_groups
from sidecar.pipeline.legs import Legs, TimedLeg, joined, to_leg_report
from sidecar.pipeline.ordering import hits_of_fusion, leg_scores
from sidecar.pipeline.query_vectors import QueryVectors
from sidecar.pipeline.reading import Lack, Reading
from sidecar.pipeline.shaping import Shaper
from sidecar.pipeline.stage_outcome import with_lack
from sidecar.pipeline.standing import Standing
from sidecar.recall.base import Leg, Recaller
from sidecar.recall.encoding import identity_of
from sidecar.recall.fusion import fuse
from sidecar.rerank.reranker import Reranker
from sidecar.types import (
    Attribute,
    Hit,
    Query,
    Ranking,
    Stage,
    StageReason,
    StageReport,
    StageState,
)

T = TypeVar("T")
Attributes = Mapping[str, Mapping[str, Attribute]]
# Told the ids of the documents of the fused ranking, once recall is done.
OnRecalled = Callable[[Sequence[str]], None]
# A second round of recall is so many times as deep as the first, up to so many candidates.
DEEPER = 10
DEEPEST = 5_000
# Of the time left, what vectors may hold up a ranking that is not the last one.
SHAPING_SHARE = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Fused:
    """The fused ranking, as many of its hits as grouping would leave (or as wanted), and what it
    lacks of what was asked for."""

    hits: tuple[Hit, ...]
    shown: int
    lack: Lack | None = None


class SearchPipeline:
    """Searches collections. One instance serves all requests; `close` frees its threads."""

    def __init__(
        self,
        bi_encoder: BiEncoder | None,
        first: Reranker | None,
        second: Reranker | None,
        config: Config,
        admission: Admission | None = None,
        vectors: QueryVectors | None = None,
    ) -> None:
        """`vectors` of this bi-encoder may be shared with others; its own unless given."""
        self._bi_encoder = bi_encoder
        self._generation = identity_of(bi_encoder) if bi_encoder else None
        self._vectors = vectors
        if bi_encoder is not None and vectors is None:
            self._vectors = QueryVectors(bi_encoder, config.cache.vector_bytes)
        self._config = config
        self._cascade = Cascade(first, second, config.language, config.planner)
        self._admission = admission or Admission(config.admission)
        threads = 2 * (os.cpu_count() or 1)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="recall")
        self._legs = Legs(self._executor, config.recall.deadline_share)

    async def run(
        self,
        recaller: Recaller,
        query: Query,
        deadline: Deadline,
        on_recalled: OnRecalled | None = None,
    ) -> AsyncGenerator[Ranking]:
        """The rankings of a search, the last one final; `on_recalled` is called before the first.

        Raises OverloadedError before all else, DeadlineError if recall did not finish in time,
        InvalidFieldError for a filter that the collection cannot answer, a leg's own error if
        neither leg answered, and what `Cascade.run` raises.
        """
        job = Job(query.text, query.options, query.caller, deadline)
        seconds = self._cascade.seconds_asked(job, self._fused_depth(query))

        async def passages_of(doc_ids: Sequence[str]) -> Passages | Lack:
            call = partial(recaller.passages, doc_ids)
            with self._reading("passages", call) as passages:
                return await passages.within(deadline.remaining())

        with self._admission.admit(query.caller, query.options.request_class, seconds):
            standing = await self._recall(recaller, query, deadline)
            recalled = tuple(hit.doc_id for hit in standing.hits)
            if on_recalled is not None:
                on_recalled(recalled)
            stages = self._cascade.run(job, standing, passages_of)
            with self._shaping(recaller, query, recalled) as shaper:
                async with contextlib.aclosing(stages):
                    async for ranking in stages:
                        if ranking.final or not query.final_only:
                            share = 1.0 if ranking.final else SHAPING_SHARE
                            ranking = await shaper.shape(ranking, deadline.remaining() * share)
                        yield dataclasses.replace(ranking, recalled=recalled)

    @contextlib.contextmanager
    def _shaping(
        self, recaller: Recaller, query: Query, recalled: Sequence[str]
    ) -> Iterator[Shaper]:
        """The vectors are read once, beside the rerankers, and are all of one bi-encoder."""
        if query.diversity is None:
            yield Shaper(query.grouping, None, None)
            return
        with self._reading(
            "vectors", lambda: recaller.vectors(recalled, self._generation)
        ) as vectors:
            yield Shaper(query.grouping, query.diversity, vectors)

    def close(self) -> None:
        """Waits for calls under way and frees the threads."""
        self._executor.shutdown()

    async def _recall(self, recaller: Recaller, query: Query, deadline: Deadline) -> Standing:
        lexical, dense = await self._legs.recall(
            lambda: self._lexical(recaller, query, deadline),
            lambda: self._dense(recaller, query, deadline),
            deadline,
        )
        started = time.perf_counter()
        fused = await self._fused(recaller, query, lexical.leg, dense.leg, deadline)
        if fused.shown < query.hits_wanted and self._is_cut(query, lexical.leg, dense.leg):
            until = Deadline.after(deadline.remaining() * self._config.recall.deadline_share)
            lexical, dense, fused = await self._deeper(
                recaller, query, lexical, dense, fused, until
            )
        report = StageReport(
            Stage.FUSED,
            StageState.COMPLETE,
            candidates_in=len(lexical.leg.recalled) + len(dense.leg.recalled),
            candidates_out=len(fused.hits),
            elapsed_milliseconds=(time.perf_counter() - started) * 1000.0,
        )
        reports: tuple[StageReport, ...] = (
            to_leg_report(Stage.LEXICAL, lexical, None),
            to_leg_report(Stage.DENSE, dense, self._bi_encoder),
            report,
        )
        if fused.lack is not None:
            reports = with_lack(reports, fused.lack)
        return Standing(Stage.FUSED, fused.hits, reports)

    async def _deeper(
        self,
        recaller: Recaller,
        query: Query,
        lexical: TimedLeg,
        dense: TimedLeg,
        fused: Fused,
        until: Deadline,
    ) -> tuple[TimedLeg, TimedLeg, Fused]:
        """A second round, for a grouping that has left too few hits; the first one stands if there
        is none in time."""
        try:
            again = await self._legs.recall(
                lambda: self._lexical(recaller, query, until, DEEPER),
                lambda: self._dense(recaller, query, until, DEEPER),
                until,
            )
        except (DeadlineError, StorageError, BackendUnavailableError, ModelError):
            return lexical, dense, fused
        more_lexical, more_dense = joined(lexical, again[0]), joined(dense, again[1])
        more = await self._fused(recaller, query, more_lexical.leg, more_dense.leg, until)
        if more.lack is not None:
            return lexical, dense, fused
        return more_lexical, more_dense, more

    def _is_cut(self, query: Query, lexical: Leg, dense: Leg) -> bool:
        """Whether a leg has as many candidates as it was asked for: there may be more."""
        config = self._config.recall
        return len(lexical.recalled) >= _depth(query, config.lexical_depth) or len(
            dense.recalled
        ) >= _depth(query, config.dense_depth)

    async def _fused(
        self, recaller: Recaller, query: Query, lexical: Leg, dense: Leg, deadline: Deadline
    ) -> Fused:
        """The fused ranking, boosted, then cut: what is boosted may come from below the cut, and
        what is grouped, where hits above it leave too few groups."""
        depth = self._fused_depth(query)
        fused = fuse(lexical.recalled, dense.recalled, self._config.fusion)
        scores = leg_scores({Stage.LEXICAL: lexical.recalled, Stage.DENSE: dense.recalled})
        if not is_boosted(query) and query.grouping is None:
            return Fused(hits_of_fusion(fused[:depth], scores), query.hits_wanted)
        doc_ids = [one.doc_id for one in fused]
        with self._reading("attributes", lambda: _weighed(recaller, doc_ids, query)) as reading:
            read = await reading.within(deadline.remaining() * self._config.recall.deadline_share)
        if isinstance(read, Lack):
            return Fused(hits_of_fusion(fused[:depth], scores), query.hits_wanted, read)
        attributes, factors = read
        if factors is not None:
            fused = boosted(fused, factors)
        if query.grouping is None:
            return Fused(hits_of_fusion(fused[:depth], scores, factors), query.hits_wanted)
        hits = hits_of_fusion(fused, scores, factors)
        hits = with_groups(hits, attributes, query.grouping.attribute)
        return Fused(*cut_grouped(hits, query.grouping.per_group, depth, query.hits_wanted))

    def _fused_depth(self, query: Query) -> int:
        return max(self._config.recall.fused_depth, query.hits_wanted)

    def _lexical(self, recaller: Recaller, query: Query, deadline: Deadline, times: int = 1) -> Leg:
        depth = _depth(query, self._config.recall.lexical_depth, times)
        return recaller.lexical(
            query.text,
            query.filter,
            depth,
            field_weights=query.field_weights or None,
            timeout_seconds=_left(deadline),
        )

    def _dense(self, recaller: Recaller, query: Query, deadline: Deadline, times: int = 1) -> Leg:
        depth = _depth(query, self._config.recall.dense_depth, times)
        if query.vector is not None:
            vector = _normalised(query.vector)
            return recaller.dense(
                vector, query.filter, depth, self._generation, timeout_seconds=_left(deadline)
            )
        bi_encoder = self._bi_encoder
        if bi_encoder is None:
            return Leg((), reason=StageReason.NOT_CONFIGURED, detail="no bi-encoder is configured")
        language = query.options.language or detect_language(query.text)
        contract = bi_encoder.contract
        if self._config.language.skip_unserved and not contract.serves(language):
            detail = f"{contract.name} serves {', '.join(contract.languages)}, not {language}"
            return Leg((), reason=StageReason.LANGUAGE_NOT_SERVED, detail=detail)
        assert self._vectors is not None
        vector = self._vectors.vector_of(query.text, query.options.use_cache)
        return recaller.dense(
            vector, query.filter, depth, self._generation, timeout_seconds=_left(deadline)
        )

    def _reading(self, what: str, call: Callable[[], T]) -> Reading[T]:
        return Reading(self._executor, what, call)


def _weighed(
    recaller: Recaller, doc_ids: Sequence[str], query: Query
) -> tuple[Attributes, dict[str, float] | None]:
    """The attributes of documents and, where scores are boosted, their factors."""
    attributes = recaller.attributes(doc_ids)
    if not is_boosted(query):
        return attributes, None
    return attributes, factors_of(attributes, query, datetime.now(UTC))


def _depth(query: Query, configured: int, times: int = 1) -> int:
    once = max(configured, query.hits_wanted)
    return min(once * times, max(once, DEEPEST))


def _left(deadline: Deadline) -> float | None:
    """What a leg may take: it is waited for until the deadline where it alone has an answer."""
    seconds = deadline.remaining()
    return None if math.isinf(seconds) else max(seconds, 0.0)


def _normalised(vector: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    array = np.asarray(vector, dtype=np.float32)
    return array / np.linalg.norm(array)
