"""maintenance.proto: what is to be done with the place of a collection, and what was."""

from __future__ import annotations

import math
from collections.abc import Callable

from sidecar.errors import InvalidFieldError
from sidecar.recall.migration import moves
from sidecar.recall.migration.migration import LEAST_OVERLAP, Migrated, Terms
from sidecar.recall.migration.moves import Moving
from sidecar.service.messages.checks import check_collection
from sidecar.service.messages.collection import from_backend, to_backend
from sidecar.storage.progress import Progress
from sidecar.v1 import maintenance_pb2

Do = Callable[[Moving, Progress], Migrated]


def to_migration(message: maintenance_pb2.MigrateCollectionRequest) -> Do:
    """What a request asks for. Raises InvalidFieldError."""
    check_collection("collection", message.collection)
    if message.action == maintenance_pb2.MIGRATION_ACTION_FINISH:
        return lambda moving, progress: moves.finish(moving)
    if message.action == maintenance_pb2.MIGRATION_ACTION_BACK:
        discard = message.discard_writes
        return lambda moving, progress: moves.move_back(moving, discard, progress)
    if message.action not in (
        maintenance_pb2.MIGRATION_ACTION_UNSPECIFIED,
        maintenance_pb2.MIGRATION_ACTION_MOVE,
    ):
        raise InvalidFieldError("action", f"{message.action} is unknown: give MOVE, FINISH or BACK")
    return _to_move(message)


def _to_move(message: maintenance_pb2.MigrateCollectionRequest) -> Do:
    backend = to_backend(message)
    if backend is None:
        raise InvalidFieldError("backend", "is missing: name one of the server's [backends]")
    if message.documents_per_second < 0:
        raise InvalidFieldError("documents_per_second", "is negative: give 0 or more")
    least = message.least_overlap if message.HasField("least_overlap") else LEAST_OVERLAP
    if not (math.isfinite(least) and 0.0 <= least <= 1.0):
        raise InvalidFieldError("least_overlap", f"is {least}: give a share from 0 to 1")
    terms = Terms(message.documents_per_second, least)
    return lambda moving, progress: moves.move(moving, backend, terms, progress)


def from_migrated(migrated: Migrated) -> maintenance_pb2.MigratedCollection:
    """The message of what was done."""
    found = migrated.comparison
    message = maintenance_pb2.MigratedCollection(
        collection=migrated.collection,
        incarnation=migrated.incarnation,
        backend=from_backend(migrated.backend) if migrated.backend else None,
        document_count=migrated.document_count,
        compared_documents=found.documents,
        compared_vectors=found.vectors,
        probes=found.probes,
        lexical_overlap=found.lexical_overlap,
        dense_overlap=found.dense_overlap,
        discarded=found.findings,
    )
    message.held.FromMicroseconds(round(1_000_000 * migrated.held_seconds))
    return message
