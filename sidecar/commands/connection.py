"""The command line's connection to a running sidecar, and its errors in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sidecar.errors import InvalidFieldError, SidecarError

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
CALLER_MISTAKES = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
)


class RefusedError(InvalidFieldError):
    """The sidecar refused the request for something that the caller can mend."""

    def __init__(self, message: str) -> None:
        super().__init__("request", message)
        self.message = message


@contextlib.contextmanager
def connect(address: str) -> Iterator[grpc.Channel]:
    """A channel to the sidecar on HOST:PORT; gRPC errors inside become one sentence.

    Raises RefusedError for a mistake of the caller's, SidecarError for everything else.
    """
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    try:
        with grpc.insecure_channel(address, options) as channel:
            yield channel
    except grpc.RpcError as error:
        raise to_sidecar_error(error, address) from error


def to_sidecar_error(error: grpc.RpcError, address: str) -> SidecarError:
    """`error` in words: the message, the fields and the reason that its details name."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # every RpcError raised is a Call
    if status is None:
        return _without_details(error, address)
    message = status.message
    for detail in status.details:
        message += _in_words(detail, message)
    return RefusedError(message) if error.code() in CALLER_MISTAKES else SidecarError(message)


def _without_details(error: grpc.RpcError, address: str) -> SidecarError:
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        hint = "start one with: sidecar serve --data DIR"
        return SidecarError(f"no sidecar answers on {address} ({error.details()}); {hint}")
    return SidecarError(f"{address} answered {error.code().name}: {error.details()}")


def _in_words(detail: object, message: str) -> str:
    """What `detail` adds to `message`."""
    info, request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    if detail.Unpack(info):  # type: ignore[attr-defined]
        return f" [{info.reason}]"
    if detail.Unpack(request):  # type: ignore[attr-defined]
        missing = [v for v in request.field_violations if v.field not in message]
        return "".join(f"; {v.field}: {v.description}" for v in missing)
    if detail.Unpack(retry):  # type: ignore[attr-defined]
        seconds = retry.retry_delay.ToTimedelta().total_seconds()
        return f"; try again in {seconds:g} s"
    return ""
