"""What the edge makes of a message that could not be sent because the caller left."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from sidecar.service.edge import Edge

NOT_SENT = grpc.aio.InternalError("a batch of operations failed")


class RecordingContext:
    """Records how a call was aborted."""

    def __init__(self) -> None:
        self.codes: list[grpc.StatusCode] = []

    async def abort(self, code: grpc.StatusCode, *_: Any) -> None:
        self.codes.append(code)


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
    context: Any = RecordingContext()

    async def handler(request: object, context: object) -> None:
        raise error

    await Edge(max_calls=1)._awaited(handler)(None, context)
    assert context.codes == [code]
    assert bool(caplog.records) == (code is grpc.StatusCode.INTERNAL)
