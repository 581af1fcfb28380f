"""A collection in a folder of the server's own: SQLite holds the documents, and tantivy and FAISS
the indexes that are derived from them.

A write goes through `writer`, a search through `legs`; `derived` makes one findable by the other.
A collection has a generation of vectors for each bi-encoder that was asked for; the leading one is
written with the documents, the others follow in the background.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from sidecar.config import Config
from sidecar.errors import StorageError
from sidecar.models.base import BiEncoder
from sidecar.recall.base import Leg
from sidecar.recall.collection import Collection, Description, Stats, Written
from sidecar.recall.embedded.changes import StoreChanges
from sidecar.recall.embedded.columns import AttributeColumns
from sidecar.recall.embedded.creation import create_folder, undo_creation
from sidecar.recall.embedded.derived import DerivedIndexes
from sidecar.recall.embedded.encoding_turns import Turns
from sidecar.recall.embedded.facets import count_facets
from sidecar.recall.embedded.legs import EmbeddedLegs
from sidecar.recall.embedded.log_folding import LogFolding
from sidecar.recall.embedded.verify import or_finding, verify_indexes
from sidecar.recall.embedded.writer import MovedError, Writer
from sidecar.recall.encoding import identity_of, passage_of
from sidecar.storage.documents import DocumentStore
from sidecar.storage.files import FolderLock, disk_bytes
from sidecar.storage.progress import Progress, unheard
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Attribute, Document, Facet, FacetRequest, Filter, Schema

# Up to so many writes are caught up with before `open` returns; more go on behind a leg's reason.
CATCH_UP_WRITES = 50_000
CATCH_UP_SECONDS = 60.0
# A generation that is to lead gets so long, without new writes, to have the last ones; if that is
# not enough it leads all the same, and they are searchable later.
LEAD_HOLD_SECONDS = 2.0
# One that was moved gets so long to have its last writes indexed.
PUT_ASIDE_SECONDS = 60.0


class EmbeddedCollection:
    """A Collection, and what the catalog asks of those that it keeps: generations, `retire`."""

    def __init__(
        self,
        folder: Path,
        lock: FolderLock,
        store: DocumentStore,
        bi_encoder: BiEncoder | None,
        config: Config,
        turns: Turns,
    ) -> None:
        """Use `open` or `create`."""
        self._folder = folder
        self._lock = lock
        self._store = store
        self._dense_config = config.dense_index
        self._derived = DerivedIndexes(folder, store, config.dense_index, turns)
        self._writer = Writer(store, self._derived, config.writes)
        self._columns = AttributeColumns(store, config.attributes.max_bytes)
        self._derived.kept = self._columns.keeps
        self._folding = LogFolding(store)
        self._legs = EmbeddedLegs(store, self._derived, self._columns)
        self._successor: Collection | None = None
        try:
            if bi_encoder is not None:
                self._derived.generations.configure(bi_encoder)
        except BaseException:
            self._derived.close(save=False)
            raise

    @classmethod
    def open(
        cls,
        folder: Path,
        bi_encoder: BiEncoder | None,
        config: Config,
        turns: Turns | None = None,
        catch_up_seconds: float = CATCH_UP_SECONDS,
    ) -> Self:
        """The collection of a folder, its indexes caught up with unless that would take long.

        The bi-encoder leads if the collection has a generation of it, or none at all; else
        documents are stored without vectors. `turns` are those of the catalog.
        Raises StorageError: missing, damaged, in use by another process, of a newer format.
        """
        if not folder.is_dir():
            raise StorageError(f"{folder}: no such folder", path=str(folder))
        with contextlib.ExitStack() as opened:
            lock = FolderLock(folder)
            opened.callback(lock.release)
            store = DocumentStore.open(folder)
            opened.callback(store.close)
            collection = cls(folder, lock, store, bi_encoder, config, turns or Turns())
            opened.pop_all()
        collection._start(catch_up_seconds)
        return collection

    @classmethod
    def create(
        cls,
        folder: Path,
        name: str,
        schema: Schema,
        bi_encoder: BiEncoder | None,
        config: Config,
        turns: Turns | None = None,
    ) -> Self:
        """A new, empty collection in a folder that does not exist; durable once returned.

        Raises InvalidFieldError, CollectionExistsError, StorageError.
        """
        identity = identity_of(bi_encoder) if bi_encoder is not None else None
        create_folder(folder, name, schema, identity)
        try:
            return cls.open(folder, bi_encoder, config, turns)
        except BaseException:
            undo_creation(folder)
            raise

    @property
    def name(self) -> str:
        """See Collection."""
        return self._store.header.name

    @property
    def schema(self) -> Schema:
        """See Collection."""
        return self._store.header.schema

    @property
    def folder(self) -> Path:
        """Where it is on disk."""
        return self._folder

    def describe(self) -> Description:
        """See Collection."""
        generations = self._derived.generations
        identity = generations.leading_identity if generations.configured is not None else None
        return Description(
            name=self.name,
            schema=self.schema,
            bi_encoder=identity.name if identity else "",
            bi_encoder_revision=identity.revision if identity else "",
            dimensions=identity.dimensions if identity else 0,
            document_count=self._store.count,
            incarnation=self._store.header.collection_id,
        )

    def stats(self) -> Stats:
        """See Collection."""
        leading = self._derived.generations.leading
        return Stats(
            document_count=self._store.count,
            durable_sequence=self._store.sequence,
            searchable_sequence=self._derived.searchable_sequence,
            lexical_count=self._derived.lexical.count,
            dense_count=leading.dense.count if leading is not None else 0,
            disk_bytes=disk_bytes(self._folder),
            dense_form=leading.dense.form if leading is not None else "",
            dense_building=leading is not None and leading.dense.is_building,
        )

    # Writes

    def upsert(
        self,
        documents: Sequence[Document],
        *,
        request_id: str = "",
        expected_versions: Sequence[int | None] = (),
    ) -> Written:
        """See Collection."""
        try:
            return self._writer.upsert(documents, request_id, expected_versions)
        except MovedError:
            return self._moved_to().upsert(
                documents, request_id=request_id, expected_versions=expected_versions
            )

    def delete(
        self,
        doc_ids: Sequence[str],
        *,
        request_id: str = "",
        expected_versions: Sequence[int] = (),
    ) -> Written:
        """See Collection."""
        try:
            return self._writer.delete(doc_ids, request_id, expected_versions)
        except MovedError:
            return self._moved_to().delete(
                doc_ids, request_id=request_id, expected_versions=expected_versions
            )

    @property
    def durable_sequence(self) -> int:
        """See Collection."""
        return self._store.sequence

    @property
    def searchable_sequence(self) -> int:
        """See Collection."""
        return self._derived.searchable_sequence

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """See Collection."""
        return self._derived.wait_searchable(sequence, timeout_seconds)

    # Reads

    def get(self, doc_ids: Sequence[str], include_vectors: bool = False) -> list[Document]:
        """See Collection."""
        return self._store.get(doc_ids, include_vectors)

    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """See Collection."""
        return self._store.fields(doc_ids)

    def passages(self, doc_ids: Sequence[str]) -> Mapping[str, str]:
        """See Recaller."""
        return {
            doc_id: passage_of(fields, self.schema)
            for doc_id, fields in self.fields(doc_ids).items()
        }

    def attributes(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """See Recaller."""
        return self._store.attributes(doc_ids)

    def vectors(
        self, doc_ids: Sequence[str], generation: BiEncoderIdentity | None = None
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """See Recaller."""
        return self._store.vectors(doc_ids, generation)

    # Recall

    def lexical(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        *,
        field_weights: Mapping[str, float] | None = None,
        timeout_seconds: float | None = None,
    ) -> Leg:
        """See Recaller. An index of the machine's own is not late."""
        return self._legs.lexical(query, filter, depth, field_weights)

    def dense(
        self,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
        generation: BiEncoderIdentity | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Leg:
        """See Recaller."""
        return self._legs.dense(vector, filter, depth, generation)

    def check_can_count(self) -> None:
        """See Collection: it can."""

    def facets(self, requests: Sequence[FacetRequest], filter: Filter | None) -> tuple[Facet, ...]:
        """See Collection."""
        return count_facets(requests, filter, self._columns, self.schema)

    # Generations

    def generation_refusal(self, identity: BiEncoderIdentity) -> str:
        """Why it cannot have a generation of a bi-encoder; empty: it can have any."""
        return ""

    def add_generation(self, bi_encoder: BiEncoder) -> None:
        """Starts, or goes on with, the generation of a bi-encoder beside the leading one; durable
        once returned. Raises StorageError."""
        self._writer.check_open()
        self._derived.generations.add(bi_encoder)

    def generations(self) -> list[BiEncoderIdentity]:
        """The bi-encoders of which it has a generation, in use or at rest."""
        return list(self._store.generations)

    def generation_progress(self, identity: BiEncoderIdentity) -> tuple[int, int]:
        """Documents that have a vector of a bi-encoder, and all documents."""
        stored = self._store.generations.get(identity)
        return (stored.count() if stored else 0), self._store.count

    def generation_failure(self, identity: BiEncoderIdentity) -> str:
        """Why the last attempt to encode for a generation failed; empty if it did not."""
        generation = self._derived.generations.get(identity)
        return generation.failure if generation else ""

    def wait_generation(self, identity: BiEncoderIdentity, timeout_seconds: float | None) -> bool:
        """Whether a generation can be searched, after waiting at most so long (None: as needed)."""
        return self._derived.wait_served(identity, timeout_seconds)

    def wait_up_to_date(self, identity: BiEncoderIdentity, timeout_seconds: float) -> bool:
        """Whether a generation finds all that is written, likewise."""
        return self._derived.wait_up_to_date(identity, timeout_seconds)

    def lead_with(self, identity: BiEncoderIdentity) -> None:
        """Makes a generation that can be searched the leading one; durable once returned.

        Writes wait for a moment, so that what is searchable before is so after. A write that began
        before gets its vector of this generation later. Raises StorageError.
        """
        with self._writer.alone():
            self._writer.check_open()
            self._derived.wait_up_to_date(identity, LEAD_HOLD_SECONDS)
            self._derived.generations.lead(identity)

    def drop_generation(self, identity: BiEncoderIdentity) -> None:
        """Removes a generation that does not lead; once returned, its bi-encoder is not called any
        more. Raises StorageError; then it can be tried again."""
        self._writer.check_open()
        self._derived.generations.drop(identity)

    def leads_with(self, identity: BiEncoderIdentity) -> bool:
        """Whether the generation of a bi-encoder leads."""
        return self._derived.generations.leading_identity == identity

    # Migration

    def changes(self) -> StoreChanges:
        """See MovableCollection."""
        return StoreChanges(self._store, self._derived)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """See MovableCollection."""
        with self._writer.alone():
            self._writer.check_open()
            yield

    def hand_over(self, successor: Collection) -> None:
        """See MovableCollection."""
        self._successor = successor
        self._writer.move()

    def put_aside(self) -> None:
        """See MovableCollection. The database is closed after the last read."""
        # Callers wait for what they wrote just before, and would be told that it is not found.
        self._derived.wait_searchable(self._store.sequence, PUT_ASIDE_SECONDS)
        weakref.finalize(self, self._store.close)
        self.retire()

    def _moved_to(self) -> Collection:
        assert self._successor is not None
        return self._successor

    # Upkeep

    def verify(self, progress: Progress = unheard) -> list[str]:
        """See Collection."""
        findings = verify_indexes(
            self._folder, self._store, self._derived, self._dense_config, progress
        )
        return [*findings, *or_finding(self._columns.findings)]

    def back_up(self, folder: Path, progress: Progress = unheard) -> None:
        """See Collection. Its indexes are derived again from the copy."""
        self._store.copy_to(folder, progress)

    @property
    def repairs(self) -> Sequence[str]:
        """See Collection."""
        return tuple(self._derived.repairs)

    def close(self) -> None:
        """Ends the index thread, writes the dense snapshot and gives the folder back, that in any
        case."""
        if self._writer.stop("the collection is closed"):
            with contextlib.ExitStack() as closing:
                closing.callback(self._lock.release)
                closing.callback(self._store.close)
                closing.callback(self._columns.close)
                closing.callback(self._folding.close)
                self._derived.close()

    def retire(self) -> None:
        """Before its folder is renamed to be dropped: writes end, and once returned nothing is
        written below the folder's name any more; reads go on."""
        if self._writer.stop("the collection was dropped"):
            with contextlib.ExitStack() as ending:
                ending.callback(self._lock.release)
                ending.callback(self._columns.close)
                ending.callback(self._folding.close)
                self._derived.close(save=False)

    def moved(self, folder: Path) -> None:
        """Its folder was renamed: where reads that are under way find it."""
        self._store.moved(folder)

    def _start(self, catch_up_seconds: float) -> None:
        self._columns.start()
        self._folding.start()
        self._derived.start()
        self._derived.wait_ready(CATCH_UP_WRITES, catch_up_seconds)
