"""Impressions and events as rows of the feedback log; hours as numbers and as names of folders."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sidecar.impressions import Event, Impression, ShownHit
from sidecar.types import StageReport, StageScore

HOUR_SECONDS = 3600
ImpressionRow = tuple[bytes, int, float, bytes]  # impression_id, hour, answered, content
DIGEST_BYTES = 16
# The fastest: 8 KB of JSON become 1.
COMPRESSION = 1

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Shown:
    """What has to be known of an impression to take an event of it: the hits by `doc_id`, each with
    its team, and whose session it was."""

    teams: dict[str, str]
    session: str
    interleaved: bool


def hour_of(seconds: float) -> int:
    """Hours since the epoch."""
    return int(seconds // HOUR_SECONDS)


def hour_name(hour: int) -> str:
    """An hour in UTC: "2026-11-21T14"."""
    return datetime.fromtimestamp(hour * HOUR_SECONDS, UTC).strftime("%Y-%m-%dT%H")


def hour_from_name(name: str) -> int:
    """The hour of a name. Raises ValueError."""
    return hour_of(datetime.strptime(name, "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp())


def digest_of(event_id: str) -> bytes:
    """What is kept of an event's id."""
    return hashlib.blake2b(event_id.encode(), digest_size=DIGEST_BYTES).digest()


def to_row(impression: Impression) -> ImpressionRow:
    """The row of an impression."""
    content = {
        "query": impression.query,
        "collection": impression.collection,
        "index_revision": impression.index_revision,
        "caller": impression.caller,
        "session": impression.session,
        "user": impression.user,
        "variant": impression.variant,
        "revision": impression.revision,
        "stage": impression.stage.name,
        "final": impression.final,
        "degraded": impression.degraded,
        "exploration_share": impression.exploration_share,
        "swapped_rank": impression.swapped_rank,
        "interleaved": impression.interleaved,
        "hits": [_from_hit(hit) for hit in impression.hits],
        "stages": [_from_report(report) for report in impression.stages],
    }
    answered = impression.answered
    return (
        bytes.fromhex(impression.impression_id),
        hour_of(answered),
        answered,
        zlib.compress(_to_json(content).encode(), COMPRESSION),
    )


def to_event_row(event: Event, joined: bool) -> tuple[Any, ...]:
    """The row of an event, without its sequence number."""
    return (
        event.event_id,
        bytes.fromhex(event.impression_id),
        hour_of(event.answered),
        event.answered,
        event.action.value,
        event.doc_id,
        event.value,
        event.time,
        event.received,
        int(joined),
    )


def from_content(content: bytes) -> dict[str, Any]:
    """The columns of an impression that are in its content."""
    columns: dict[str, Any] = json.loads(zlib.decompress(content))
    return columns


def to_shown(content: bytes) -> Shown:
    """What an impression's content says of its hits."""
    tree = from_content(content)
    teams = {hit["doc_id"]: hit["team"] for hit in tree["hits"]}
    return Shown(teams, tree["session"], tree["interleaved"])


def _from_hit(hit: ShownHit) -> dict[str, Any]:
    return {
        "doc_id": hit.doc_id,
        "rank": hit.rank,
        "stage": hit.stage.name,
        "score": hit.score,
        "logit": hit.logit,
        "probability": hit.probability,
        "team": hit.team,
        "scores": [_from_score(score) for score in hit.scores],
    }


def _from_score(score: StageScore) -> dict[str, Any]:
    return {
        "stage": score.stage.name,
        "rank": score.rank,
        "score": score.score,
        "model_score": score.model_score,
    }


def _from_report(report: StageReport) -> dict[str, Any]:
    return {
        "stage": report.stage.name,
        "state": report.state.name,
        "reason": report.reason.name,
        "detail": report.detail,
        "model": report.model,
        "model_revision": report.model_revision,
        "template_digest": report.template_digest,
        "candidates_in": report.candidates_in,
        "candidates_out": report.candidates_out,
        "candidates_cached": report.candidates_cached,
        "elapsed_milliseconds": report.elapsed_milliseconds,
        "queue_milliseconds": report.queue_milliseconds,
    }
