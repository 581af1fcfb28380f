"""Every error the sidecar raises for a caller, each with what the caller may do about it.

The pipeline and below raise these; `service/errors.py` holds the one table that turns them into
gRPC statuses, and the command line prints their message. `reason` is the stable, machine-readable
name that goes into google.rpc.ErrorInfo.
"""

from __future__ import annotations

from typing import ClassVar


class SidecarError(Exception):
    """Root of all errors meant for a caller."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


class InvalidFieldError(SidecarError):
    """A field of the request is not acceptable: change it, then send it again."""

    reason = "INVALID_FIELD"

    def __init__(self, field: str, message: str, **metadata: str) -> None:
        super().__init__(f"{field}: {message}", field=field, **metadata)
        self.field = field
        self.description = message


class TooLargeError(InvalidFieldError):
    """A field exceeds a limit: send less."""

    reason = "TOO_LARGE"


class RequestIdReusedError(InvalidFieldError):
    """The id stands for another write: take a new one for every write, keep it to send it again."""

    reason = "REQUEST_ID_REUSED"


class UnsupportedError(SidecarError):
    """The backend of the collection cannot do this: leave it out, or keep it in another one."""

    reason = "UNSUPPORTED"


class SequenceUnknownError(SidecarError):
    """The collection never gave this sequence number: it is of another one, or of this one before
    it was restored from a backup."""

    reason = "SEQUENCE_UNKNOWN"


class CursorExpiredError(SidecarError):
    """The ranking is not kept any more: search again without the cursor."""

    reason = "CURSOR_EXPIRED"


class CollectionNotFoundError(SidecarError):
    """No collection of that name: create it, or correct the name."""

    reason = "COLLECTION_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"collection {name!r} does not exist: create it with CreateCollection", collection=name
        )


class BackupNotFoundError(SidecarError):
    """No backup of that name: list them, or correct the name."""

    reason = "BACKUP_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"backup {name!r} does not exist: list them with ListBackups", backup=name)


class BackupsOffError(SidecarError):
    """The server keeps no backups: set backup.folder, or ask one that does."""

    reason = "BACKUPS_OFF"


class CollectionExistsError(SidecarError):
    """The name is in use: take another, or drop that collection first."""

    reason = "COLLECTION_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"collection {name!r} exists already", collection=name)


class MigrationError(SidecarError):
    """A collection cannot be moved now, or was not; the message says what is in the way."""

    reason = "MIGRATION"


class DeadlineError(SidecarError):
    """The time was over before any ranking was reached: allow more time."""

    reason = "DEADLINE_EXCEEDED"


class StageDeadlineError(DeadlineError):
    """The least stage that the caller wants was not reached in time: allow more, or want less."""

    reason = "STAGE_DEADLINE"


class NotSearchableYetError(DeadlineError):
    """The write that the caller wants to read was not searchable in time: it is durable; allow more
    time, or send it again."""

    reason = "NOT_SEARCHABLE_YET"


class TryLaterError(SidecarError):
    """Not now: send it again after `retry_seconds`."""

    reason = "TRY_LATER"

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class OverloadedError(TryLaterError):
    """The server is full: send it again after `retry_seconds`."""

    reason = "OVERLOADED"


class DrainingError(TryLaterError):
    """The server is shutting down: send it to another replica, or again after `retry_seconds`."""

    reason = "DRAINING"


class StartingError(TryLaterError):
    """The server is loading its models: send it again after `retry_seconds`."""

    reason = "STARTING"


class StageUnavailableError(TryLaterError):
    """The least stage that the caller wants is not to be had now: want less, or send it again after
    `retry_seconds`."""

    reason = "STAGE_UNAVAILABLE"

    def __init__(self, message: str, retry_seconds: float = 1.0) -> None:
        super().__init__(message, retry_seconds)


class CallerLeftError(SidecarError):
    """The caller left before its answer was sent: nobody is there to be told."""

    reason = "CALLER_LEFT"


class StorageError(SidecarError):
    """The disk or a file on it is at fault (full, read-only, damaged): see the message."""

    reason = "STORAGE"


class DamagedError(StorageError):
    """What is on the disk is not what was written there, or not by this program and for this: it
    will not get better by itself, as a full disk may."""

    reason = "DAMAGED"


class BackendError(SidecarError):
    """The search engine that keeps the collection refuses what it was asked, or answers what cannot
    be: see the message."""

    reason = "BACKEND"


class BackendUnavailableError(TryLaterError):
    """The search engine that keeps the collection cannot be reached, or does not answer in time:
    send it again after `retry_seconds`. A write may have been done."""

    reason = "BACKEND_UNAVAILABLE"

    def __init__(self, message: str, retry_seconds: float = 1.0) -> None:
        super().__init__(message, retry_seconds)


class ModelError(SidecarError):
    """A model cannot be loaded or does not do what its contract says: see the message."""

    reason = "MODEL"


class ModelUnavailableError(ModelError):
    """A model served elsewhere cannot be reached, or does not answer: nothing is wrong with what it
    was asked."""

    reason = "MODEL_UNAVAILABLE"


class FeedbackOffError(SidecarError):
    """The server logs no feedback: send events to one that does, or set feedback.enabled."""

    reason = "FEEDBACK_OFF"


class ModelNotFoundError(SidecarError):
    """The registry has no such model, version or alias: publish it, or correct the name."""

    reason = "MODEL_NOT_FOUND"


class ModelChangeError(SidecarError):
    """A change of models that cannot be made now; the message says what is in the way."""

    reason = "MODEL_CHANGE"


class ModelRefusedError(ModelError):
    """A version that does not hold what it promises (digests, golden pairs, warm-up): what served
    goes on serving; publish it anew."""

    reason = "MODEL_REFUSED"


class ConfigurationError(SidecarError):
    """The configuration is not acceptable: the message names the key and the way out."""

    reason = "CONFIGURATION"


class InputFileError(SidecarError):
    """A file given on the command line is not acceptable; the message names file and line."""

    reason = "INPUT_FILE"

    def __init__(self, path: str, line: int | None, message: str) -> None:
        where = path if line is None else f"{path}, line {line}"
        super().__init__(f"{where}: {message}")
        self.path = path
        self.line = line
