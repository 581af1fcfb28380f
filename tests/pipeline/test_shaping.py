"""All rankings of a request are shaped by one read of vectors."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sidecar.pipeline.reading import Reading
from sidecar.pipeline.shaping import Shaper, Vectors
from sidecar.types import (
    Diversity,
    Hit,
    Ranking,
    Stage,
    StageReason,
    StageReport,
    StageState,
)

REPORT = StageReport(Stage.FUSED, StageState.COMPLETE)


def a_ranking(ids: str, revision: int) -> Ranking:
    hits = tuple(Hit(doc_id, rank, Stage.FUSED, 1.0) for rank, doc_id in enumerate(ids, start=1))
    return Ranking(revision, Stage.FUSED, revision > 1, False, hits, (REPORT,))


async def test_vectors_that_come_between_two_rankings_shape_the_later_one():
    """Those of the first are not waited for longer than it may be held up."""
    there, reads = threading.Event(), []

    def vectors() -> Vectors:
        reads.append(1)
        there.wait()
        near, far = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
        return {"a": near, "b": near, "c": far}

    with ThreadPoolExecutor(1) as executor, Reading(executor, "vectors", vectors) as reading:
        shaper = Shaper(None, Diversity(relevance=0.4), reading)
        early = await shaper.shape(a_ranking("abc", 1), 0.01)
        there.set()
        late = await shaper.shape(a_ranking("bac", 2), 60.0)
        again = await shaper.shape(a_ranking("abc", 2), 60.0)
    assert [[hit.doc_id for hit in one.hits] for one in (early, late, again)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["a", "c", "b"],
    ]
    assert [one.degraded for one in (early, late, again)] == [True, False, False]
    assert early.stages[0].reason is StageReason.DEADLINE
    assert late.stages == (REPORT,)
    assert reads == [1]
