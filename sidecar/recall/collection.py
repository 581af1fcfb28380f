"""What a server asks of a collection: documents with one schema, and recall over them.

The way of a write: check -> encode -> durable -> searchable, each step at a later sequence number.
A collection in the server's own folder is embedded/collection.py; one that another server keeps
is a class with these methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sidecar.recall.base import Recaller
from sidecar.storage.progress import Progress, unheard
from sidecar.types import Backend, Document, Facet, FacetRequest, Filter, Schema, VersionConflict


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did. `sequence` is that of its last document, 0 if it changed nothing; `count`
    are the documents written or deleted, `versions` those of written ones, in their order.

    With `conflicts` it did nothing. `repeated`: it was done before, as it is told here.
    """

    sequence: int
    count: int
    durable_sequence: int
    searchable_sequence: int
    versions: tuple[int, ...] = ()
    conflicts: tuple[VersionConflict, ...] = ()
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Stats:
    """The counts of a collection.

    `dense_form`: how its vectors are found (VectorIndex.form), empty where that is not known;
    `dense_building`: a better index is being made beside that one."""

    document_count: int
    durable_sequence: int
    searchable_sequence: int
    lexical_count: int
    dense_count: int
    disk_bytes: int
    dense_form: str = ""
    dense_building: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """What a collection is. The bi-encoder's fields are empty if the server has none configured.

    `incarnation` is another one after the collection was restored from a backup: sequence numbers
    of one mean nothing in the other. `backend`: who keeps it; None: the server itself.
    """

    name: str
    schema: Schema
    bi_encoder: str
    bi_encoder_revision: str
    dimensions: int
    document_count: int
    incarnation: str = ""
    backend: Backend | None = None


class Collection(Recaller, Protocol):
    """One opened collection. Every method blocks and may be called from any thread.

    A write that was acknowledged is kept whatever happens to the process, and found by both legs
    once `wait_searchable` said so. A document that was deleted is returned by none from then on.
    """

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def schema(self) -> Schema:
        """What its documents are made of."""

    def describe(self) -> Description:
        """What it is, at once; the count as it is known here, where the backend has it."""

    def stats(self) -> Stats:
        """The counts."""

    # Writes

    def upsert(
        self,
        documents: Sequence[Document],
        *,
        request_id: str = "",
        expected_versions: Sequence[int | None] = (),
    ) -> Written:
        """Writes a batch, whole or not at all; durable once returned.

        With a request id, a batch that was written before is not written again. With expected
        versions, one for each document, nothing is written unless the stored ones have these (0:
        there is none; None: whatever there is).

        Raises InvalidFieldError ("documents[3].vector"), RequestIdReusedError, ModelError,
        StorageError, UnsupportedError where the backend knows no such writes.
        """

    def delete(
        self,
        doc_ids: Sequence[str],
        *,
        request_id: str = "",
        expected_versions: Sequence[int] = (),
    ) -> Written:
        """Deletes documents; once returned they are durably gone and no search returns them.

        Ids that are not stored are ignored, unless a version is expected of them (0: whatever there
        is). Raises as `upsert` does.
        """

    @property
    def durable_sequence(self) -> int:
        """All writes up to it are durable; none was given a higher number."""

    @property
    def searchable_sequence(self) -> int:
        """All writes up to it are found by both legs."""

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """Whether all writes up to a sequence number are searchable, after waiting at most so long.

        None waits as long as it takes, or until the collection is closed.
        """

    # Reads

    def get(self, doc_ids: Sequence[str], include_vectors: bool = False) -> list[Document]:
        """The documents that are stored, in the order asked, each once; vectors as unit vectors."""

    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """The text fields of the documents that are stored, by id."""

    def check_can_count(self) -> None:
        """Raises UnsupportedError, at once, if `facets` cannot count any."""

    def facets(self, requests: Sequence[FacetRequest], filter: Filter | None) -> tuple[Facet, ...]:
        """The counts over all documents that pass the filter, in the order asked, each request's
        scope aside. Checked with `check_facets`; raises UnsupportedError if it cannot count."""

    # Upkeep

    def verify(self, progress: Progress = unheard) -> list[str]:
        """Compares all that is kept with the documents as they are at its beginning; searches and
        writes go on, and writes that come meanwhile are no findings.

        Returns what is wrong, nothing if all is well. Raises UnsupportedError.
        """

    def back_up(self, folder: Path, progress: Progress = unheard) -> None:
        """Writes all that it keeps as of one moment into a folder that exists and is empty, as
        storage/backup.py has it; searches and writes go on. The caller syncs what is there.

        Raises StorageError, UnsupportedError.
        """

    @property
    def repairs(self) -> Sequence[str]:
        """What was found unusable at its opening and is built anew, in words; empty if nothing."""

    def close(self) -> None:
        """Ends its work; what is durable stays. May be called twice."""
