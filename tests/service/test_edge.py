"""What the edge makes of errors, of messages that could not be sent, and of calls it cuts off."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from prometheus_client import REGISTRY
from serving import from_details

from sidecar.errors import OverloadedError
from sidecar.service.calls import to_caller
from sidecar.service.edge import Edge

NOT_SENT = grpc.aio.InternalError("a batch of operations failed")
METHOD = "RerankService/Rerank"


class RecordingContext:
    """Records how a call was aborted; `remaining` seconds are left of its deadline."""

    def __init__(self, remaining: float | None = None) -> None:
        self.codes: list[grpc.StatusCode] = []
        self.metadata: dict[str, str | bytes] = {}
        self._remaining = remaining

    async def abort(self, code: grpc.StatusCode, _: str, metadata: Any) -> None:
        self.codes.append(code)
        self.metadata |= dict(metadata)
        raise grpc.aio.AbortError

    def time_remaining(self) -> float | None:
        return self._remaining


def counted(code: str) -> float:
    labels = {"method": METHOD, "code": code}
    return REGISTRY.get_sample_value("sidecar_call_seconds_count", labels) or 0.0


def under_way() -> float:
    found = REGISTRY.get_sample_value("sidecar_calls_under_way", {"method": METHOD})
    assert found is not None
    return found


def failing(error: BaseException) -> Any:
    async def handler(request: object, context: object) -> None:
        raise error

    return Edge(max_calls=1)._awaited(handler, METHOD)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NOT_SENT, grpc.StatusCode.CANCELLED),
        (ExceptionGroup("tasks", [NOT_SENT]), grpc.StatusCode.CANCELLED),
        (ExceptionGroup("tasks", [NOT_SENT, KeyError("ours")]), grpc.StatusCode.INTERNAL),
        (KeyError("ours"), grpc.StatusCode.INTERNAL),
    ],
    ids=["not sent", "not sent by a task", "a fault beside it", "a fault"],
)
async def test_only_faults_of_ours_are_logged(
    error: Exception, code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    context, before = RecordingContext(), counted(code.name)
    with pytest.raises(grpc.aio.AbortError):
        await failing(error)(None, context)
    assert context.codes == [code]
    assert bool(caplog.records) == (code is grpc.StatusCode.INTERNAL)
    assert counted(code.name) == before + 1
    assert under_way() == 0


async def test_a_refusal_tells_retry_policies_when_to_come_again() -> None:
    context = RecordingContext()
    with pytest.raises(grpc.aio.AbortError):
        await failing(OverloadedError("full", 0.25))(None, context)
    assert context.metadata["grpc-retry-pushback-ms"] == "250"
    details = context.metadata["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status = status_pb2.Status.FromString(details)
    refusal = from_details(context.codes[0], status.message, status.details)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert refusal.retry_seconds == 0.25


@pytest.mark.parametrize(
    ("remaining", "code"), [(None, "CANCELLED"), (1.0, "CANCELLED"), (-0.1, "DEADLINE_EXCEEDED")]
)
async def test_a_cancellation_passes_and_is_counted_for_what_it_is(
    remaining: float | None, code: str
) -> None:
    before = counted(code)
    with pytest.raises(asyncio.CancelledError):
        await failing(asyncio.CancelledError())(None, RecordingContext(remaining))
    assert counted(code) == before + 1


async def test_calls_that_are_cut_off_are_told_that_the_server_drains() -> None:
    edge, context, before = Edge(max_calls=2), RecordingContext(), counted("UNAVAILABLE")
    begun = asyncio.Event()

    async def handler(request: object, context: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(edge._awaited(handler, METHOD)(None, context))
    await begun.wait()
    edge.cut_off()
    with pytest.raises(grpc.aio.AbortError):
        await call
    await edge.wait_idle()
    details = context.metadata["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status = status_pb2.Status.FromString(details)
    refusal = from_details(context.codes[0], status.message, status.details)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert refusal.retry_seconds is not None
    assert counted("UNAVAILABLE") == before + 1


async def test_an_error_that_cannot_be_sent_ends_the_call_as_cancelled() -> None:
    class Gone(RecordingContext):
        async def abort(self, *_: Any) -> None:
            raise NOT_SENT

    with pytest.raises(asyncio.CancelledError):
        await failing(OverloadedError("full", 0.25))(None, Gone())


class MetadataContext:
    """A call with metadata."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata


@pytest.mark.parametrize(
    ("metadata", "caller"),
    [
        ([], ""),
        ([("user-agent", "x"), ("sidecar-caller", "web")], "web"),
        ([("sidecar-caller", "")], ""),
        ([("sidecar-caller", "web"), ("sidecar-caller", "other")], "web"),
        ([("sidecar-caller", "w" * 5000)], "w" * 125 + "…"),
    ],
)
def test_the_caller_is_who_the_metadata_say(
    metadata: list[tuple[str, str | bytes]], caller: str
) -> None:
    context: Any = MetadataContext(*metadata)
    assert to_caller(context, "sidecar-caller") == caller
