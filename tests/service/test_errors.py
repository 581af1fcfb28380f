"""The table of errors: complete, and what a caller gets from each row."""

from __future__ import annotations

import inspect

import grpc
import pytest
from serving import from_details

from sidecar import errors
from sidecar.errors import (
    BackendError,
    BackendUnavailableError,
    BackupNotFoundError,
    BackupsOffError,
    CallerLeftError,
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigurationError,
    CursorExpiredError,
    DamagedError,
    DeadlineError,
    DrainingError,
    FeedbackOffError,
    InputFileError,
    InvalidFieldError,
    MigrationError,
    ModelChangeError,
    ModelError,
    ModelNotFoundError,
    ModelRefusedError,
    ModelUnavailableError,
    NotSearchableYetError,
    OverloadedError,
    RequestIdReusedError,
    SequenceUnknownError,
    SidecarError,
    StageDeadlineError,
    StageUnavailableError,
    StartingError,
    StorageError,
    TooLargeError,
    TryLaterError,
    UnsupportedError,
)
from sidecar.service.errors import TABLE, to_failed, to_status

EXAMPLES: list[tuple[SidecarError, grpc.StatusCode]] = [
    (InvalidFieldError("query", "is empty"), grpc.StatusCode.INVALID_ARGUMENT),
    (TooLargeError("query", "is long"), grpc.StatusCode.INVALID_ARGUMENT),
    (RequestIdReusedError("request_id", "is another's"), grpc.StatusCode.INVALID_ARGUMENT),
    (UnsupportedError("no pages"), grpc.StatusCode.UNIMPLEMENTED),
    (SequenceUnknownError("of another"), grpc.StatusCode.FAILED_PRECONDITION),
    (CursorExpiredError("gone"), grpc.StatusCode.ABORTED),
    (NotSearchableYetError("wait"), grpc.StatusCode.DEADLINE_EXCEEDED),
    (CollectionNotFoundError("docs"), grpc.StatusCode.NOT_FOUND),
    (CollectionExistsError("docs"), grpc.StatusCode.ALREADY_EXISTS),
    (BackupNotFoundError("docs-1"), grpc.StatusCode.NOT_FOUND),
    (BackupsOffError("no folder"), grpc.StatusCode.FAILED_PRECONDITION),
    (MigrationError("not alike"), grpc.StatusCode.FAILED_PRECONDITION),
    (DeadlineError("late"), grpc.StatusCode.DEADLINE_EXCEEDED),
    (StageDeadlineError("not reached"), grpc.StatusCode.DEADLINE_EXCEEDED),
    (StageUnavailableError("the model is down", 1.25), grpc.StatusCode.UNAVAILABLE),
    (TryLaterError("not now", 1.25), grpc.StatusCode.UNAVAILABLE),
    (OverloadedError("full", 1.25), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DrainingError("draining", 1.25), grpc.StatusCode.UNAVAILABLE),
    (StartingError("starting", 1.25), grpc.StatusCode.UNAVAILABLE),
    (CallerLeftError("gone"), grpc.StatusCode.CANCELLED),
    (StorageError("the disk is full"), grpc.StatusCode.INTERNAL),
    (DamagedError("the SHA-256 differs"), grpc.StatusCode.INTERNAL),
    (BackendError("refused"), grpc.StatusCode.INTERNAL),
    (BackendUnavailableError("down"), grpc.StatusCode.UNAVAILABLE),
    (ModelError("NaN"), grpc.StatusCode.INTERNAL),
    (ModelUnavailableError("no answer"), grpc.StatusCode.UNAVAILABLE),
    (ModelNotFoundError("none"), grpc.StatusCode.NOT_FOUND),
    (ModelChangeError("busy"), grpc.StatusCode.FAILED_PRECONDITION),
    (ModelRefusedError("digests"), grpc.StatusCode.FAILED_PRECONDITION),
    (FeedbackOffError("off"), grpc.StatusCode.FAILED_PRECONDITION),
    (ConfigurationError("bad key"), grpc.StatusCode.FAILED_PRECONDITION),
    (InputFileError("f.jsonl", 7, "bad JSON"), grpc.StatusCode.INVALID_ARGUMENT),
    (SidecarError("other"), grpc.StatusCode.INTERNAL),
]


def declared() -> set[type[SidecarError]]:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    return {one for one in classes if issubclass(one, SidecarError)}


def test_every_error_has_a_row_and_an_example() -> None:
    assert set(TABLE) == declared()
    assert {type(error) for error, _ in EXAMPLES} == declared()


def test_every_error_has_a_reason_of_its_own() -> None:
    assert len({one.reason for one in declared()}) == len(declared())


@pytest.mark.parametrize(("error", "code"), EXAMPLES, ids=lambda one: type(one).__name__)
def test_a_caller_gets_code_words_and_details(error: SidecarError, code: grpc.StatusCode) -> None:
    status = to_status(error)
    refusal = from_details(code, status.message, status.details)
    assert status.code == code.value[0]
    assert refusal.message == error.message
    assert refusal.reason == error.reason
    assert refusal.metadata == error.metadata
    assert refusal.field == getattr(error, "field", None)
    assert refusal.retry_seconds == getattr(error, "retry_seconds", None)
    failed = to_failed(error)
    assert (failed.code, failed.message) == (status.code, status.message)
    assert list(failed.details) == list(status.details)


def test_a_subclass_without_a_row_is_sent_as_its_parent() -> None:
    class OddFieldError(InvalidFieldError):
        pass

    assert to_status(OddFieldError("query", "odd")).code == 3


def test_long_and_wide_texts_fit_into_headers() -> None:
    error = InvalidFieldError("域" * 5000, "字" * 5000, attribute="名" * 5000)
    status = to_status(error)
    # gRPC percent-encodes the message (3 characters a byte) and base64-encodes the details.
    assert 3 * len(status.message.encode()) + 4 * status.ByteSize() / 3 < 7000
    assert from_details(grpc.StatusCode.INVALID_ARGUMENT, "", status.details).field is not None


def test_another_exception_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    status = to_status(KeyError("a secret of the server's"))
    refusal = from_details(grpc.StatusCode.INTERNAL, status.message, status.details)
    assert status.code == 13
    assert "secret" not in str(status)
    assert refusal.metadata["error_id"] in status.message
    assert refusal.metadata["error_id"] in caplog.text
    assert "secret" in caplog.text
