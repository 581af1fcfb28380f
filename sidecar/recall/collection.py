"""A collection: documents with one schema, and recall over them.

The way of a write: check -> encode -> one transaction (durable) -> the index thread (searchable).
A collection has a generation of vectors for each bi-encoder that was asked for; the leading one is
written with the documents, the others follow in the background.
The way of a search: filter -> one leg -> ordinals -> the ids of the documents that still live.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from sidecar.config import Config
from sidecar.errors import CollectionExistsError, InvalidFieldError, StorageError
from sidecar.models.base import BiEncoder
from sidecar.recall.base import Leg, Recalled
from sidecar.recall.checks import check_doc_ids, check_documents
from sidecar.recall.embedded.derived import DerivedIndexes
from sidecar.recall.embedded.encoding_turns import Turns
from sidecar.recall.embedded.ties import Found, search_with_ties
from sidecar.recall.embedded.verify import verify_indexes
from sidecar.recall.encoding import callers_vectors, identity_of, passage_of
from sidecar.recall.filters import check_filter, matching
from sidecar.recall.schemas import check_name, check_schema
from sidecar.storage.documents import DocumentStore, Header
from sidecar.storage.files import (
    FolderLock,
    disk_bytes,
    remove_tree,
    storage_errors,
    sync_folder,
)
from sidecar.storage.stored_generations import BiEncoderIdentity, Vector
from sidecar.types import Document, Filter, Schema, StageReason

# Unfinished and dropped collections begin so; their names cannot.
CREATING_PREFIX = ".creating-"
# Up to so many writes are caught up with before `open` returns; more go on behind a leg's reason.
CATCH_UP_WRITES = 50_000
CATCH_UP_SECONDS = 60.0
# A generation that is to lead gets so long, without new writes, to have the last ones; if that is
# not enough it leads all the same, and they are searchable later.
LEAD_HOLD_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did. `sequence` is that of its last document, 0 if it changed nothing."""

    sequence: int
    count: int
    durable_sequence: int
    searchable_sequence: int


@dataclass(frozen=True, slots=True)
class Stats:
    """The counts of a collection."""

    document_count: int
    durable_sequence: int
    searchable_sequence: int
    lexical_count: int
    dense_count: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Description:
    """What a collection is. The bi-encoder's fields are empty if the server has none configured."""

    name: str
    schema: Schema
    bi_encoder: str
    bi_encoder_revision: str
    dimensions: int
    document_count: int


class Collection:
    """One opened collection; a Recaller. Every method blocks and may be called from any thread."""

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
        self._write_lock = threading.Lock()
        self._refusal = ""
        self._dense_config = config.dense_index
        self._configured = identity_of(bi_encoder) if bi_encoder is not None else None
        self._derived = DerivedIndexes(folder, store, config.dense_index, turns)
        try:
            if bi_encoder is not None and self._is_to_lead(identity_of(bi_encoder)):
                self._derived.generations.add(bi_encoder)
                self._derived.generations.lead(identity_of(bi_encoder))
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
        collection._start()
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
        check_name(name)
        check_schema(schema)
        if folder.exists():
            raise CollectionExistsError(name)
        unfinished = folder.with_name(CREATING_PREFIX + folder.name)
        identity = identity_of(bi_encoder) if bi_encoder is not None else None
        with storage_errors(folder):
            remove_tree(unfinished)
            unfinished.mkdir(parents=True)
            header = Header(uuid.uuid4().hex, name, schema)
            DocumentStore.create(unfinished, header, identity).close()
            sync_folder(unfinished)
            unfinished.rename(folder)
            sync_folder(folder.parent)
        return cls.open(folder, bi_encoder, config, turns)

    @property
    def name(self) -> str:
        """Its name."""
        return self._store.header.name

    @property
    def schema(self) -> Schema:
        """What its documents are made of."""
        return self._store.header.schema

    @property
    def folder(self) -> Path:
        """Where it is on disk."""
        return self._folder

    def describe(self) -> Description:
        """What it is."""
        identity = self._stored_identity() if self._configured is not None else None
        return Description(
            name=self.name,
            schema=self.schema,
            bi_encoder=identity.name if identity else "",
            bi_encoder_revision=identity.revision if identity else "",
            dimensions=identity.dimensions if identity else 0,
            document_count=self._store.count,
        )

    # Writes

    def upsert(self, documents: Sequence[Document]) -> Written:
        """Writes a batch, whole or not at all; durable once returned.

        Raises InvalidFieldError ("documents[3].vector"), ModelError, StorageError.
        """
        self._check_writable()
        with self._derived.generations.using_leading() as leading:
            identity = leading.identity if leading else self._stored_identity()
            check_documents(documents, self.schema, identity.dimensions if identity else None)
            vectors: Sequence[Vector | None] = [None] * len(documents)
            if leading is not None:
                vectors = leading.vectors_of(documents)
            elif identity is not None:
                vectors = callers_vectors(documents, identity.dimensions)
            with self._write_lock:
                self._check_writable()
                sequence = self._store.write(documents, vectors, identity)
        self._derived.notify()
        return self._written(sequence, len(documents))

    def delete(self, doc_ids: Sequence[str]) -> Written:
        """Deletes documents; once returned they are durably gone and no search returns them.

        Raises InvalidFieldError for a bad list; ids that are not stored are ignored.
        """
        self._check_writable()
        check_doc_ids(doc_ids)
        with self._write_lock:
            self._check_writable()
            sequence, ordinals = self._store.delete(doc_ids)
            self._derived.hide(ordinals, sequence)
        self._derived.notify()
        return self._written(sequence, len(ordinals))

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """Whether all writes up to a sequence number are searchable, after waiting at most so long.

        None waits as long as it takes, or until the collection is closed.
        """
        return self._derived.wait_searchable(sequence, timeout_seconds)

    # Reads

    def get(self, doc_ids: Sequence[str], include_vectors: bool = False) -> list[Document]:
        """The documents that are stored, in the order asked, each once; vectors as unit vectors."""
        return self._store.get(doc_ids, include_vectors)

    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """The text fields of the documents that are stored, by id."""
        return self._store.fields(doc_ids)

    def passages(self, doc_ids: Sequence[str]) -> Mapping[str, str]:
        """The passages of the documents that are stored, by id."""
        return {
            doc_id: passage_of(fields, self.schema)
            for doc_id, fields in self.fields(doc_ids).items()
        }

    def stats(self) -> Stats:
        """The counts."""
        leading = self._derived.generations.leading
        return Stats(
            document_count=self._store.count,
            durable_sequence=self._store.sequence,
            searchable_sequence=self._derived.searchable_sequence,
            lexical_count=self._derived.lexical.count,
            dense_count=leading.dense.count if leading is not None else 0,
            disk_bytes=disk_bytes(self._folder),
        )

    # Recall

    def lexical(self, query: str, filter: Filter | None, depth: int) -> Leg:
        """See Recaller."""
        if filter is not None:
            check_filter(filter, self.schema)
        fault = self._derived.lexical_fault()
        if fault:
            return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=fault)
        try:
            found = search_with_ties(
                depth + self._derived.hidden_count,
                lambda asked: self._derived.lexical.search(query, filter, asked),
            )
        except StorageError as error:
            return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=error.message)
        if found is None:
            detail = "the query has no word that the analyzers keep"
            return Leg((), reason=StageReason.NO_QUERY_TERMS, detail=detail)
        eligible = self._store.count if filter is None else None
        return Leg(self._recalled(found, depth), eligible)

    @property
    def searchable_sequence(self) -> int:
        """All writes up to it are in both indexes."""
        return self._derived.searchable_sequence

    def dense(
        self,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
        generation: BiEncoderIdentity | None = None,
    ) -> Leg:
        """See Recaller."""
        if filter is not None:
            check_filter(filter, self.schema)
        generations = self._derived.generations
        chosen = generations.leading if generation is None else generations.get(generation)
        if chosen is None:
            return self._without_generation(generation)
        fault = self._derived.dense_fault(chosen)
        if fault:
            return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=fault)
        dense, dimensions = chosen.dense, chosen.identity.dimensions
        if vector.shape != (dimensions,):
            raise InvalidFieldError(
                "query_vector",
                f"has {vector.size} values; the collection's bi-encoder has {dimensions}",
            )
        allowed = None if filter is None else self._matching(filter)
        found = search_with_ties(
            depth + self._derived.hidden_count, lambda asked: dense.search(vector, asked, allowed)
        )
        eligible = self._store.count if allowed is None else len(allowed)
        return Leg(self._recalled(found or [], depth), eligible)

    # Generations

    def add_generation(self, bi_encoder: BiEncoder) -> None:
        """Starts, or goes on with, the generation of a bi-encoder beside the leading one; durable
        once returned. Raises StorageError."""
        self._check_writable()
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
        with self._write_lock:
            self._check_writable()
            self._derived.wait_up_to_date(identity, LEAD_HOLD_SECONDS)
            self._derived.generations.lead(identity)
            self._configured = identity

    def drop_generation(self, identity: BiEncoderIdentity) -> None:
        """Removes a generation that does not lead; once returned, its bi-encoder is not called any
        more. Raises StorageError; then it can be tried again."""
        self._check_writable()
        self._derived.generations.drop(identity)

    def leads_with(self, identity: BiEncoderIdentity) -> bool:
        """Whether the generation of a bi-encoder leads."""
        return self._stored_identity() == identity

    # Upkeep

    def verify(self) -> list[str]:
        """Compares all indexes with the documents; writes wait meanwhile.

        Returns what is wrong, nothing if all is well.
        """
        with self._write_lock:
            return verify_indexes(self._folder, self._store, self._derived, self._dense_config)

    @property
    def repairs(self) -> Sequence[str]:
        """What `open` found unusable and builds anew, in words; empty if nothing."""
        return tuple(self._derived.repairs)

    def close(self) -> None:
        """Ends the index thread, writes the dense snapshot and gives the folder back."""
        if self._stop("the collection is closed", save=True):
            self._store.close()
            self._lock.release()

    def retire(self, folder: Path) -> None:
        """The collection was dropped and its folder renamed: writes end, reads under way go on."""
        if self._stop("the collection was dropped", save=False):
            self._store.moved(folder)
            self._lock.release()

    def _start(self) -> None:
        self._derived.start()
        self._derived.wait_ready(CATCH_UP_WRITES, CATCH_UP_SECONDS)

    def _stop(self, refusal: str, save: bool) -> bool:
        with self._write_lock:
            if self._refusal:
                return False
            self._refusal = refusal
        self._derived.close(save)
        return True

    def _is_to_lead(self, identity: BiEncoderIdentity) -> bool:
        """Whether a bi-encoder with which it is opened has, or may have, the leading generation."""
        return self._store.leading is None or identity in self._store.generations

    def _stored_identity(self) -> BiEncoderIdentity | None:
        leading = self._store.leading
        return None if leading is None else leading.bi_encoder

    def _without_generation(self, asked: BiEncoderIdentity | None) -> Leg:
        """The dense leg where the generation asked for (None: the leading one) is not at hand."""
        wanted, held = asked or self._configured, self._stored_identity()
        if wanted is None:
            detail = "no bi-encoder is configured"
            return Leg((), reason=StageReason.NOT_CONFIGURED, detail=detail)
        detail = f"the collection has no vectors of {wanted}"
        if held is not None:
            detail = (
                f"the collection's vectors are of {held}, the configured bi-encoder is {wanted}: "
                "configure the former, have the documents encoded by the latter by activating it "
                "(`sidecar models activate`, for a model of the registry), or index them anew"
            )
        return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=detail)

    def _check_writable(self) -> None:
        if self._refusal:
            raise StorageError(f"{self.name}: {self._refusal}", collection=self.name)

    def _written(self, sequence: int, count: int) -> Written:
        searchable = self._derived.searchable_sequence
        return Written(sequence, count, self._store.sequence, searchable)

    def _matching(self, filter: Filter) -> npt.NDArray[np.int64]:
        with self._store.reading_attributes() as reader:
            return matching(filter, reader)

    def _recalled(self, found: Found, depth: int) -> tuple[Recalled, ...]:
        """The documents that still live, best first, ties by doc_id."""
        doc_ids = self._store.doc_ids([ordinal for ordinal, _ in found])
        living = [Recalled(doc_ids[o], score) for o, score in found if o in doc_ids]
        return tuple(sorted(living, key=lambda each: (-each.score, each.doc_id))[:depth])
