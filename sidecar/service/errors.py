"""The one table from the sidecar's errors to gRPC statuses with google.rpc details.

    SidecarError --TABLE--> code; ErrorInfo, BadRequest for a field, RetryInfo for a later try
    anything else --------> INTERNAL; the text stays in the server's log, under an id that is sent

A call that fails as a whole ends with the status; a request of a session that fails gets the same
as an in-band `failed` frame, one that the server is too full for a `back_off` frame (session.py).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from sidecar import errors
from sidecar.errors import InvalidFieldError, SidecarError, TryLaterError
from sidecar.service.calls import Context
from sidecar.service.messages.checks import shorten
from sidecar.service.messages.rerank import to_duration
from sidecar.v1 import rerank_pb2

DOMAIN = "sidecar"
# A status travels in headers, of which peers accept 8 KiB in all.
MAX_MESSAGE_BYTES = 600
MAX_METADATA_BYTES = 200

TABLE: dict[type[SidecarError], grpc.StatusCode] = {
    errors.InvalidFieldError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooLargeError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RequestIdReusedError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    errors.SequenceUnknownError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CursorExpiredError: grpc.StatusCode.ABORTED,
    errors.CollectionNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.CollectionExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.BackupNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.BackupsOffError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.MigrationError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.StageDeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.NotSearchableYetError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.TryLaterError: grpc.StatusCode.UNAVAILABLE,
    errors.OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DrainingError: grpc.StatusCode.UNAVAILABLE,
    errors.StartingError: grpc.StatusCode.UNAVAILABLE,
    errors.StageUnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.CallerLeftError: grpc.StatusCode.CANCELLED,
    errors.StorageError: grpc.StatusCode.INTERNAL,
    errors.DamagedError: grpc.StatusCode.INTERNAL,
    errors.BackendError: grpc.StatusCode.INTERNAL,
    errors.BackendUnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.ModelError: grpc.StatusCode.INTERNAL,
    errors.ModelUnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.FeedbackOffError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.ModelChangeError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelRefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    # These two stop the start or a command; no call raises them.
    errors.ConfigurationError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.InputFileError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.SidecarError: grpc.StatusCode.INTERNAL,
}

_logger = logging.getLogger(__name__)


def to_code(error: Exception) -> grpc.StatusCode:
    """The code of an error."""
    kinds = (kind for kind in type(error).__mro__ if kind in TABLE)
    return TABLE[next(kinds, SidecarError)]


def to_status(error: Exception) -> status_pb2.Status:
    """The status of an error. One that is not meant for a caller is logged and not told."""
    if not isinstance(error, SidecarError):
        return _to_internal(error)
    code = to_code(error)
    if code is grpc.StatusCode.INTERNAL:
        _logger.error("%s: %s", error.reason, error.message, exc_info=error)
    return status_pb2.Status(
        code=code.value[0],
        message=shorten(error.message, MAX_MESSAGE_BYTES),
        details=_to_details(error),
    )


def to_failed(error: Exception) -> rerank_pb2.SessionFailed:
    """The same as an in-band frame."""
    status = to_status(error)
    return rerank_pb2.SessionFailed(
        code=status.code, message=status.message, details=status.details
    )


async def abort(context: Context, error: Exception) -> None:
    """Ends a call with the status of an error. Raises, always."""
    status = to_status(error)
    metadata: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", status.SerializeToString())
    ]
    if isinstance(error, TryLaterError):
        # What gRPC clients with a retry policy read (gRFC A6).
        metadata.append(("grpc-retry-pushback-ms", str(round(error.retry_seconds * 1000))))
    await context.abort(to_code(error), status.message, tuple(metadata))


def _to_internal(error: Exception) -> status_pb2.Status:
    error_id = uuid.uuid4().hex
    _logger.error("unexpected error, told to the caller as %s", error_id, exc_info=error)
    return status_pb2.Status(
        code=to_code(error).value[0],
        message=f"unexpected error: the server's log has it under {error_id}",
        details=[_packed(_error_info(SidecarError.reason, {"error_id": error_id}))],
    )


def _to_details(error: SidecarError) -> Iterator[Any]:
    yield _packed(_error_info(error.reason, error.metadata))
    if isinstance(error, InvalidFieldError):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=shorten(error.field, MAX_METADATA_BYTES),
            description=shorten(error.description, MAX_MESSAGE_BYTES),
            reason=error.reason,
        )
        yield _packed(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, TryLaterError):
        yield _packed(error_details_pb2.RetryInfo(retry_delay=to_duration(error.retry_seconds)))


def _error_info(reason: str, metadata: dict[str, str]) -> error_details_pb2.ErrorInfo:
    shortened = {key: shorten(text, MAX_METADATA_BYTES) for key, text in metadata.items()}
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=shortened)


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
