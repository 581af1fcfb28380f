"""Events from messages: what is taken, and what each wrong one is told."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.feedback_types import Action, EventRefusal, EventResult, EventStatus
from sidecar.pipeline.feedback import Report
from sidecar.service.messages.feedback import from_result, to_report
from sidecar.v1 import feedback_pb2 as pb


def event(**fields: Any) -> pb.Event:
    values: dict[str, Any] = {"event_id": "e", "ranking_token": "t", "doc_id": "d"}
    return pb.Event(**(values | fields))


@pytest.mark.parametrize(
    ("fields", "action", "value"),
    [
        ({"click": pb.Click()}, Action.CLICK, None),
        ({"dwell": pb.Dwell(seconds=86_400)}, Action.DWELL, 86_400.0),
        ({"dwell": pb.Dwell()}, Action.DWELL, 0.0),
        ({"cart_addition": pb.CartAddition()}, Action.CART_ADDITION, None),
        ({"order": pb.Order()}, Action.ORDER, None),
        ({"order": pb.Order(value=0.0)}, Action.ORDER, 0.0),
        ({"order": pb.Order(value=1e300)}, Action.ORDER, 1e300),
        ({"skip": pb.Skip()}, Action.SKIP, None),
        ({"rating": pb.Rating()}, Action.RATING, 0.0),
        ({"rating": pb.Rating(grade=4)}, Action.RATING, 4.0),
        ({"view": pb.View(), "doc_id": ""}, Action.VIEW, None),
        ({"view": pb.View(last_rank=1000), "doc_id": ""}, Action.VIEW, 1000.0),
    ],
)
def test_every_action(fields: dict[str, Any], action: Action, value: float | None) -> None:
    doc_id = fields.get("doc_id", "d")
    assert to_report(event(**fields)) == Report("e", "t", action, doc_id, value, None)


def test_every_action_of_the_contract_is_known() -> None:
    names = {field.name for field in pb.Event.DESCRIPTOR.oneofs_by_name["action"].fields}
    assert names == {action.value for action in Action}


def test_the_time_is_in_seconds() -> None:
    report = to_report(event(click=pb.Click(), time=Timestamp(seconds=7, nanos=250_000_000)))
    assert isinstance(report, Report)
    assert report.time == 7.25


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({}, "action: is not set: say what the user did"),
        ({"event_id": ""}, "event_id: is empty: give 1 to 128 bytes"),
        ({"event_id": "ä" * 65}, "event_id: has 130 bytes; at most 128 are accepted"),
        ({"doc_id": ""}, "doc_id: is empty: give 1 to 512 bytes"),
        ({"doc_id": "d" * 513}, "doc_id: has 513 bytes; at most 512 are accepted"),
        ({"view": pb.View()}, "doc_id: is set for a view, which is one of the whole ranking"),
        ({"view": pb.View(last_rank=0)}, "view.last_rank: is 0: give 1 to 1,000"),
        ({"dwell": pb.Dwell(seconds=-1)}, "dwell.seconds: is -1.0: give 0 to 86,400"),
        ({"dwell": pb.Dwell(seconds=86_401)}, "dwell.seconds: is 86401.0: give 0 to 86,400"),
        ({"dwell": pb.Dwell(seconds=float("nan"))}, "dwell.seconds: is nan: give 0 to 86,400"),
        ({"order": pb.Order(value=-0.5)}, "order.value: is -0.5: give 0 or more, finite"),
        ({"order": pb.Order(value=float("inf"))}, "order.value: is inf: give 0 or more, finite"),
        ({"rating": pb.Rating(grade=-1)}, "rating.grade: is -1: give 0 to 4"),
        ({"time": Timestamp(nanos=-1)}, "time: has -1 nanos: give 0 to 999,999,999"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], detail: str) -> None:
    names = {"click", "dwell", "cart_addition", "order", "skip", "rating", "view"}
    if detail.startswith("doc_id: is set") or detail.startswith("view"):
        values = {"doc_id": "d" if detail.startswith("doc_id") else "", **fields}
    elif names & set(fields) or not fields:
        values = fields
    else:
        values = {"click": pb.Click(), **fields}
    result = to_report(event(**values))
    assert isinstance(result, EventResult)
    assert (result.status, result.refusal) == (EventStatus.REFUSED, EventRefusal.INVALID_FIELD)
    assert result.detail == detail


def test_an_event_may_have_4_kilobytes() -> None:
    most = event(click=pb.Click(), ranking_token="")
    most.ranking_token = "t" * (4096 - most.ByteSize() - 3)
    assert most.ByteSize() == 4096
    assert isinstance(to_report(most), Report)
    most.ranking_token += "t"
    result = to_report(most)
    assert isinstance(result, EventResult)
    assert result.refusal is EventRefusal.TOO_LARGE
    assert result.detail == "event: has 4,097 bytes; at most 4,096 are accepted"


def test_the_id_that_comes_back_is_cut_between_characters() -> None:
    result = to_report(event(event_id="x" + "茶" * 100))
    assert isinstance(result, EventResult)
    assert result.event_id == "x" + "茶" * 42


@pytest.mark.parametrize("status", EventStatus)
@pytest.mark.parametrize("refusal", EventRefusal)
def test_results_by_name(status: EventStatus, refusal: EventRefusal) -> None:
    message = from_result(EventResult("e", status, refusal, "why", joined=True))
    name = "UNSPECIFIED" if refusal is EventRefusal.NONE else refusal.name
    assert pb.EventStatus.Name(message.status) == f"EVENT_STATUS_{status.name}"
    assert pb.EventRefusal.Name(message.refusal) == f"EVENT_REFUSAL_{name}"
    assert (message.event_id, message.detail, message.joined) == ("e", "why", True)


def test_all_statuses_and_refusals_of_the_contract_can_be_sent() -> None:
    assert {*pb.EventStatus.values()} - {0} == set(EventStatus)
    assert set(pb.EventRefusal.values()) == set(EventRefusal)


def test_a_long_detail_is_cut() -> None:
    result = EventResult("e", EventStatus.REFUSED, EventRefusal.UNKNOWN_DOCUMENT, "x" * 700)
    assert len(from_result(result).detail.encode()) <= 200
