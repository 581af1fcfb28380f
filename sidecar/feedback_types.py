"""What is logged of a ranking that was answered, and of what users did with it: plain values.

Impression -> its signed token travels with the ranking -> Event, by token -> EventResult.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sidecar.types import Stage, StageReport, StageScore


class Action(enum.StrEnum):
    """What a user did with a hit; VIEW: with the ranking."""

    CLICK = "click"
    DWELL = "dwell"
    CART_ADDITION = "cart_addition"
    ORDER = "order"
    SKIP = "skip"
    RATING = "rating"
    VIEW = "view"


class EventStatus(enum.IntEnum):
    """What became of an event."""

    ACCEPTED = 1
    DUPLICATE = 2
    REFUSED = 3


class EventRefusal(enum.IntEnum):
    """Why an event was refused; NONE: it was not."""

    NONE = 0
    INVALID_FIELD = 1
    MALFORMED_TOKEN = 2
    FORGED_TOKEN = 3
    EXPIRED_TOKEN = 4
    UNKNOWN_DOCUMENT = 5
    TOO_LARGE = 6


@dataclass(frozen=True, slots=True)
class ShownHit:
    """One hit as it was shown.

    `team` is whose ranking it came from, "production" or "canary", in an interleaved one.
    """

    doc_id: str
    rank: int
    stage: Stage
    score: float | None
    logit: float | None = None
    probability: float | None = None
    scores: tuple[StageScore, ...] = ()
    team: str = ""


@dataclass(frozen=True, slots=True)
class Impression:
    """A ranking as it was answered, with all that is needed to learn from it.

    What is added here goes into storage/feedback/rows.py and parquet.py and the README, too.

    Times are seconds since the epoch. `session` and `user` are salted hashes, "" where none was
    given. `revision` counts the rankings of one request; only the last is `final`. With the
    probability `exploration_share` two neighbours of the final ranking are swapped: those of
    `swapped_rank` and the next, if it is set. `index_revision` is the write up to which the
    collection was searched, 0 for a list that the caller brought.
    """

    impression_id: str  # 32 hex digits
    answered: float
    query: str
    hits: tuple[ShownHit, ...]
    stages: tuple[StageReport, ...]
    canary_stages: tuple[StageReport, ...] = ()
    collection: str = ""  # empty: a list that the caller brought
    index_revision: int = 0
    caller: str = ""
    session: str = ""
    user: str = ""
    variant: str = "production"
    revision: int = 1
    stage: Stage = Stage.FUSED
    final: bool = True
    degraded: bool = False
    exploration_share: float = 0.0
    swapped_rank: int | None = None
    interleaved: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a user did. `time` and `received` are seconds since the epoch.

    `value`: seconds of a dwell, worth of an order, grade of a rating, last rank of a view.
    """

    event_id: str
    impression_id: str
    answered: float  # of the impression, from its token
    action: Action
    time: float
    received: float
    doc_id: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class EventResult:
    """What became of one event."""

    event_id: str
    status: EventStatus
    refusal: EventRefusal = EventRefusal.NONE
    detail: str = ""
    joined: bool = False
