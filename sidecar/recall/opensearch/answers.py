"""What OpenSearch answers to a leg's search: candidates, and how much of the index they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sidecar.errors import BackendUnavailableError, SidecarError, TryLaterError
from sidecar.recall.base import Leg, Recalled
from sidecar.types import StageReason


def to_leg(answer: Mapping[str, Any], depth: int, to_score: Callable[[float], float]) -> Leg:
    """The best `depth`, ties by doc_id. A shard that failed, or that is not there, says nothing in
    the status of an answer, so the shards are counted."""
    shards, hits = answer["_shards"], answer["hits"]["hits"]
    found = [Recalled(_doc_id(hit), to_score(hit["_score"])) for hit in hits]
    best = tuple(sorted(found, key=lambda each: (-each.score, each.doc_id))[:depth])
    total, answered = shards["total"], shards["successful"]
    if answered == 0 or total == 0:
        detail = f"none of {total} shards answered{_first_failure(shards)}"
        return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=detail)
    if answered < total:
        detail = f"{answered} of {total} shards answered{_first_failure(shards)}"
    elif answer["timed_out"]:
        detail = "the shards stopped searching when the time was over"
    else:
        return Leg(best)
    reason = StageReason.SHARDS_MISSING
    return Leg(best, reason=reason, detail=detail, answered=answered / total)


def unavailable(error: SidecarError) -> Leg:
    """A leg that was not answered, with the words of why."""
    retry_seconds = error.retry_seconds if isinstance(error, TryLaterError) else None
    return Leg(
        (),
        reason=StageReason.INDEX_UNAVAILABLE,
        detail=error.message,
        retry_seconds=retry_seconds,
    )


def check_whole(answer: Mapping[str, Any], what: str) -> None:
    """Raises BackendUnavailableError for an answer that some shards are missing in."""
    shards = answer["_shards"]
    if shards["successful"] < shards["total"] or answer.get("timed_out"):
        raise BackendUnavailableError(
            f"{what}: {shards['successful']} of {shards['total']} shards answered"
            + _first_failure(shards)
        )


def _doc_id(hit: Mapping[str, Any]) -> str:
    doc_id: str = hit["sort"][1] if "sort" in hit else hit["_id"]
    return doc_id


def _first_failure(shards: Mapping[str, Any]) -> str:
    failures = shards.get("failures") or []
    if not failures:
        return ""
    reason = failures[0].get("reason", {})
    return f": {reason.get('type', '')}: {reason.get('reason', '')}"
