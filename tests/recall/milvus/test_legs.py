"""The time that a leg has, over an index of the test's own and a clock that is set by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from recalling import SCHEMA

from sidecar.errors import BackendUnavailableError
from sidecar.recall.base import Recalled
from sidecar.recall.milvus import legs
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import StageReason

ANSWER_SECONDS = 0.2
IDENTITY = BiEncoderIdentity("a", "1", 2)


class Ties:
    """All documents have the same score, and each search takes a while."""

    timeout_seconds = 0.7

    def __init__(self) -> None:
        self.now = 0.0
        self.given: list[float] = []

    def search(self, field, query, expression, limit, *, params, timeout_seconds):
        self.given.append(timeout_seconds)
        self.now += min(ANSWER_SECONDS, timeout_seconds)
        if timeout_seconds < ANSWER_SECONDS:
            raise BackendUnavailableError("late")
        return [Recalled(f"d{number:05}", 1.0) for number in range(limit)]


@pytest.mark.parametrize(("asked", "has"), [(None, 0.7), (0.5, 0.5), (60.0, 0.7), (0.0, 0.001)])
def test_all_searches_for_ties_have_one_time_together(
    monkeypatch: pytest.MonkeyPatch, asked: float | None, has: float
):
    index = Ties()
    monkeypatch.setattr(legs, "time", SimpleNamespace(monotonic=lambda: index.now))
    both = legs.MilvusLegs(index, SCHEMA, IDENTITY, None)  # type: ignore[arg-type]
    for _ in range(2):
        started, index.given = index.now, []
        if not started:
            leg = both.lexical("common", None, 100, None, asked)
        else:
            leg = both.dense(np.ones(2, np.float32), None, 100, IDENTITY, asked)
        assert index.now - started == pytest.approx(has)
        assert index.given == pytest.approx(
            [has - turn * ANSWER_SECONDS for turn in range(len(index.given))]
        )
        assert leg.reason is StageReason.INDEX_UNAVAILABLE


def test_ties_that_are_found_in_time_are_cut_by_doc_id(monkeypatch: pytest.MonkeyPatch):
    index = Ties()
    index.timeout_seconds = 60.0
    monkeypatch.setattr(legs, "time", SimpleNamespace(monotonic=lambda: index.now))
    leg = legs.MilvusLegs(index, SCHEMA, IDENTITY, None).lexical(  # type: ignore[arg-type]
        "common", None, 3, None, None
    )
    assert [each.doc_id for each in leg.recalled] == ["d00000", "d00001", "d00002"]
