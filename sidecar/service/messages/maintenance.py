"""maintenance.proto: backups, progress and findings on their way out."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.errors import InvalidFieldError
from sidecar.recall.collection import Stats
from sidecar.storage.backup import Backup, Restored
from sidecar.v1 import maintenance_pb2

MAX_FINDINGS = 1_000


def check_backup(field: str, name: str) -> None:
    """Raises unless a text can be the name of a backup; whether it exists is not known here."""
    if not name:
        raise InvalidFieldError(field, "is empty: name a backup, as ListBackups does")


def from_backup(backup: Backup) -> maintenance_pb2.Backup:
    """The message of a backup."""
    message = maintenance_pb2.Backup(
        name=backup.name,
        collection=backup.collection,
        sequence=backup.sequence,
        document_count=backup.document_count,
        bytes=backup.bytes,
    )
    message.created.FromDatetime(backup.created)
    return message


def from_restored(restored: Restored) -> maintenance_pb2.RestoredCollection:
    """The message of what was restored."""
    return maintenance_pb2.RestoredCollection(
        collection=restored.collection,
        sequence=restored.sequence,
        document_count=restored.document_count,
        rebuilt=restored.rebuilt,
    )


def from_findings(before: Stats, findings: Sequence[str]) -> maintenance_pb2.Findings:
    """The message of what was found; `before`: the counts when the check began."""
    told = list(findings[:MAX_FINDINGS])
    if len(findings) > MAX_FINDINGS:
        told[-1] = f"{len(findings) - MAX_FINDINGS + 1} more findings"
    return maintenance_pb2.Findings(
        sequence=before.durable_sequence,
        document_count=before.document_count,
        findings=told,
    )
