"""Impressions and events as rows of the feedback log; hours as numbers and as names of folders.

An impression's content is JSON, compressed: by column, numbers of hits packed, since it is written
beside an event loop for every search, and read once, by the process that rolls.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sidecar.feedback_types import Event, Impression, ShownHit
from sidecar.types import Stage, StageReport

HOUR_SECONDS = 3600
ImpressionRow = tuple[bytes, int, float, bytes]  # impression_id, hour, answered, content
DIGEST_BYTES = 16
COMPRESSION = 1  # the fastest

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
        "hits": _to_columns(impression.hits),
        "stages": [_from_report(report) for report in impression.stages],
        "canary_stages": [_from_report(report) for report in impression.canary_stages],
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
    """The columns of an impression that are in its content, as Parquet has them."""
    columns: dict[str, Any] = json.loads(zlib.decompress(content))
    return {**columns, "hits": _from_columns(columns["hits"])}


def to_shown(content: bytes) -> Shown:
    """What an impression's content says of its hits."""
    tree = json.loads(zlib.decompress(content))
    teams = dict(zip(tree["hits"]["doc_id"], tree["hits"]["team"], strict=True))
    return Shown(teams, tree["session"], tree["interleaved"])


def _to_columns(hits: Sequence[ShownHit]) -> dict[str, Any]:
    scores = [score for hit in hits for score in hit.scores]
    return {
        "doc_id": [hit.doc_id for hit in hits],
        "rank": [hit.rank for hit in hits],
        "stage": [int(hit.stage) for hit in hits],
        "team": [hit.team for hit in hits],
        "score": _pack([hit.score for hit in hits]),
        "logit": _pack([hit.logit for hit in hits]),
        "probability": _pack([hit.probability for hit in hits]),
        "scores": {
            "count": [len(hit.scores) for hit in hits],
            "stage": [int(score.stage) for score in scores],
            "rank": [score.rank for score in scores],
            "score": _pack([score.score for score in scores]),
            "model_score": _pack([score.model_score for score in scores]),
        },
    }


def _from_columns(columns: dict[str, Any]) -> list[dict[str, Any]]:
    scores = _from_score_columns(columns["scores"])
    names = ("doc_id", "rank", "stage", "team", "score", "logit", "probability")
    values = (
        *(columns["doc_id"], columns["rank"], _stage_names(columns["stage"]), columns["team"]),
        *(_unpack(columns[name]) for name in ("score", "logit", "probability")),
    )
    rows = zip(*values, columns["scores"]["count"], strict=True)
    hits, at = [], 0
    for *row, count in rows:
        hits.append({**dict(zip(names, row, strict=True)), "scores": scores[at : at + count]})
        at += count
    return hits


def _from_score_columns(columns: dict[str, Any]) -> list[dict[str, Any]]:
    names = ("stage", "rank", "score", "model_score")
    values = (
        *(_stage_names(columns["stage"]), columns["rank"]),
        *(_unpack(columns[name]) for name in ("score", "model_score")),
    )
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _stage_names(stages: Sequence[int]) -> list[str]:
    return [Stage(stage).name for stage in stages]


def _pack(numbers: Sequence[float | None]) -> str:
    """Doubles in base64, of which repr takes ten times as long; None as NaN, which no score is."""
    known = [math.nan if number is None else number for number in numbers]
    return base64.b64encode(struct.pack(f"<{len(known)}d", *known)).decode("ascii")


def _unpack(packed: str) -> list[float | None]:
    content = base64.b64decode(packed)
    numbers = struct.unpack(f"<{len(content) // 8}d", content)
    return [None if math.isnan(number) else number for number in numbers]


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
        "answered_share": report.answered_share,
    }
