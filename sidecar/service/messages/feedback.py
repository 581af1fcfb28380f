"""feedback.proto: events in, what became of them out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.errors import InvalidFieldError
from sidecar.feedback_types import Action, EventRefusal, EventResult, EventStatus
from sidecar.pipeline.feedback import Report
from sidecar.service.messages.checks import (
    MAX_ID_BYTES,
    check_count,
    check_range,
    check_text,
    shorten,
)
from sidecar.v1 import feedback_pb2

MAX_EVENTS = 1000
MAX_EVENT_ID_BYTES = 128
MAX_EVENT_BYTES = 4096
MAX_DWELL_SECONDS = 86_400.0
MAX_GRADE = 4
MAX_LAST_RANK = 1000
# A detail may quote an id; there is one for each of 1,000 events.
MAX_DETAIL_BYTES = 200


def check_events(events: Sequence[feedback_pb2.Event]) -> None:
    """Raises unless a request has 1 to 1,000 events."""
    check_count("events", len(events), MAX_EVENTS, "events")


def to_report(message: feedback_pb2.Event) -> Report | EventResult:
    """The event that a caller tells; what it gets if it cannot be one, whatever its token."""
    size = message.ByteSize()
    if size > MAX_EVENT_BYTES:
        detail = f"event: has {size:,} bytes; at most {MAX_EVENT_BYTES:,} are accepted"
        return _refused(message, EventRefusal.TOO_LARGE, detail)
    try:
        return _to_report(message)
    except InvalidFieldError as error:
        return _refused(message, EventRefusal.INVALID_FIELD, error.message)


def from_result(result: EventResult) -> feedback_pb2.EventResult:
    """The message of a result."""
    return feedback_pb2.EventResult(
        event_id=result.event_id,
        status=_STATUSES[result.status],
        refusal=_REFUSALS[result.refusal],
        detail=shorten(result.detail, MAX_DETAIL_BYTES),
        joined=result.joined,
    )


_STATUSES = {
    EventStatus.ACCEPTED: feedback_pb2.EVENT_STATUS_ACCEPTED,
    EventStatus.DUPLICATE: feedback_pb2.EVENT_STATUS_DUPLICATE,
    EventStatus.REFUSED: feedback_pb2.EVENT_STATUS_REFUSED,
}
_REFUSALS = {
    EventRefusal.NONE: feedback_pb2.EVENT_REFUSAL_UNSPECIFIED,
    EventRefusal.INVALID_FIELD: feedback_pb2.EVENT_REFUSAL_INVALID_FIELD,
    EventRefusal.MALFORMED_TOKEN: feedback_pb2.EVENT_REFUSAL_MALFORMED_TOKEN,
    EventRefusal.FORGED_TOKEN: feedback_pb2.EVENT_REFUSAL_FORGED_TOKEN,
    EventRefusal.EXPIRED_TOKEN: feedback_pb2.EVENT_REFUSAL_EXPIRED_TOKEN,
    EventRefusal.UNKNOWN_DOCUMENT: feedback_pb2.EVENT_REFUSAL_UNKNOWN_DOCUMENT,
    EventRefusal.TOO_LARGE: feedback_pb2.EVENT_REFUSAL_TOO_LARGE,
}


def _to_report(message: feedback_pb2.Event) -> Report:
    check_text("event_id", message.event_id, MAX_EVENT_ID_BYTES)
    action, value = _to_action(message)
    if action is not Action.VIEW:
        check_text("doc_id", message.doc_id, MAX_ID_BYTES)
    elif message.doc_id:
        raise InvalidFieldError("doc_id", "is set for a view, which is one of the whole ranking")
    return Report(
        event_id=message.event_id,
        ranking_token=message.ranking_token,
        action=action,
        doc_id=message.doc_id,
        value=value,
        time=_to_seconds(message.time) if message.HasField("time") else None,
    )


def _to_action(message: feedback_pb2.Event) -> tuple[Action, float | None]:
    """What was done, and its value as in Event."""
    match message.WhichOneof("action"):
        case "click":
            return Action.CLICK, None
        case "cart_addition":
            return Action.CART_ADDITION, None
        case "skip":
            return Action.SKIP, None
        case "dwell":
            seconds = message.dwell.seconds
            _check_number("dwell.seconds", seconds, MAX_DWELL_SECONDS)
            return Action.DWELL, seconds
        case "order":
            return Action.ORDER, _to_worth(message.order)
        case "rating":
            check_range("rating.grade", message.rating.grade, 0, MAX_GRADE)
            return Action.RATING, float(message.rating.grade)
        case "view":
            return Action.VIEW, _to_last_rank(message.view)
        case _:
            raise InvalidFieldError("action", "is not set: say what the user did")


def _to_worth(order: feedback_pb2.Order) -> float | None:
    if not order.HasField("value"):
        return None
    _check_number("order.value", order.value, math.inf)
    return order.value


def _to_last_rank(view: feedback_pb2.View) -> float | None:
    if not view.HasField("last_rank"):
        return None
    check_range("view.last_rank", view.last_rank, 1, MAX_LAST_RANK)
    return float(view.last_rank)


def _check_number(field: str, value: float, most: float) -> None:
    if not (math.isfinite(value) and 0.0 <= value <= most):
        upto = f" to {most:,.0f}" if math.isfinite(most) else " or more, finite"
        raise InvalidFieldError(field, f"is {value}: give 0{upto}")


def _to_seconds(time: Timestamp) -> float:
    if not 0 <= time.nanos < 1_000_000_000:
        raise InvalidFieldError("time", f"has {time.nanos} nanos: give 0 to 999,999,999")
    return time.seconds + time.nanos / 1e9


def _refused(message: feedback_pb2.Event, refusal: EventRefusal, detail: str) -> EventResult:
    return EventResult(_cut(message.event_id), EventStatus.REFUSED, refusal, detail)


def _cut(event_id: str) -> str:
    return event_id.encode()[:MAX_EVENT_ID_BYTES].decode(errors="ignore")
