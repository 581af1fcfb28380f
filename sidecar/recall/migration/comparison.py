"""Whether two collections are alike: every document, some vectors, and what both legs recall.

What is found different while writes come may have been read on two sides of one; it is a suspect,
looked at again, and a difference only if it is one although nobody wrote it while the target caught
up.
"""

from __future__ import annotations

import dataclasses
import functools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

import numpy as np

from sidecar.recall.collection import Collection
from sidecar.recall.migration.pace import Pace
from sidecar.recall.migration.patience import PATIENCE_SECONDS, patiently
from sidecar.recall.migration.probes import (
    Probe,
    Sample,
    fault,
    ids_of,
    is_whole,
    overlap,
    to_probe,
)
from sidecar.recall.movable import DocumentChanges
from sidecar.storage.progress import Progress
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Document, StageReason

CHUNK_DOCUMENTS = 200
# Of each chunk, so many with their vectors.
VECTORS_OF_CHUNK = 4
VECTOR_TOLERANCE = 1e-4
ROUNDS = 5
# Without its vector a document is read faster than it is copied.
EASE = 4
MOST_NAMED = 10

T = TypeVar("T")


@dataclass
class Comparison:
    """What was compared. `differing`: documents that are missing or not the same; `findings`: what
    of them, and of the legs, in words; `unsettled`: documents that were written all the time."""

    documents: int = 0
    vectors: int = 0
    differing: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    probes: int = 0
    lexical_overlap: float = 1.0
    dense_overlap: float = 1.0


class Comparer:
    """Of a collection and the one that follows it; `catch_up` makes it follow."""

    def __init__(
        self,
        source: Collection,
        changes: DocumentChanges,
        target: Collection,
        identity: BiEncoderIdentity | None,
        catch_up: Callable[[], None],
        pace: Pace,
        progress: Progress,
        vectors_of_chunk: int = VECTORS_OF_CHUNK,
    ) -> None:
        self._source = source
        self._changes = changes
        self._target = target
        self._identity = identity
        self._catch_up = catch_up
        self._pace = pace
        self._progress = progress
        self._vectors_of_chunk = vectors_of_chunk
        # With their vectors, documents are read no faster than they are copied.
        self._ease = EASE if vectors_of_chunk == VECTORS_OF_CHUNK else 1
        # Fixed: a comparison can be repeated.
        self._chance = random.Random(7)

    def compare(self) -> Comparison:
        """Raises what the collections do."""
        sample = Sample(self._chance)
        found = self.compare_documents(sample)
        self._probe([to_probe(document, self._chance) for document in sample.documents], found)
        return found

    def compare_documents(self, sample: Sample | None = None) -> Comparison:
        """All documents, without asking the legs; some of them go into `sample`."""
        found = Comparison()
        suspects = self._suspects(found, sample or Sample(self._chance))
        found.differing, found.unsettled = self._proven(suspects)
        for doc_id in found.differing[:MOST_NAMED]:
            found.findings.append(f"document {doc_id[:80]!r} is not the same in both, or missing")
        return found

    def differing(
        self, doc_ids: Sequence[str], patience_seconds: float = PATIENCE_SECONDS
    ) -> list[str]:
        """Those of these documents that are not the same, while nobody writes."""
        return [
            doc_id
            for start in range(0, len(doc_ids), CHUNK_DOCUMENTS)
            for doc_id in self._differing_now(
                doc_ids[start : start + CHUNK_DOCUMENTS], patience_seconds
            )
        ]

    def _suspects(self, found: Comparison, sample: Sample) -> list[str]:
        upto, after, suspects = self._changes.sequence, 0, list[str]()
        while after < upto:
            limit = self._pace.begin(lambda: self._tell(found), self._ease)
            chunk = self._changes.read(after, limit, self._identity)
            after, documents = chunk.upto, chunk.documents
            suspects += self._differing_in(documents)
            found.documents += len(documents)
            found.vectors += sum(
                each.vector is not None for each in documents[: self._vectors_of_chunk]
            )
            sample.draw(documents[: self._vectors_of_chunk], found.documents)
            self._pace.end(len(documents))
        return suspects

    def _tell(self, found: Comparison) -> None:
        self._progress("compares documents", found.documents, self._changes.count)

    def _differing_in(self, documents: Sequence[Document]) -> list[str]:
        drawn, rest = documents[: self._vectors_of_chunk], documents[self._vectors_of_chunk :]
        there = _by_id(self._get(_ids(drawn), include_vectors=True))
        there |= _by_id(self._get(_ids(rest), include_vectors=False))
        wanted = [*drawn, *(dataclasses.replace(each, vector=None) for each in rest)]
        return [each.doc_id for each in wanted if not is_same(each, there.get(each.doc_id))]

    def _get(
        self,
        doc_ids: Sequence[str],
        include_vectors: bool,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> list[Document]:
        if not doc_ids:
            return []
        return self._patiently(lambda: self._target.get(doc_ids, include_vectors), patience_seconds)

    def _patiently(self, call: Callable[[], T], patience_seconds: float = PATIENCE_SECONDS) -> T:
        return patiently(call, time.monotonic() + patience_seconds, self._look)

    def _look(self) -> None:
        self._progress("waits for the backend", 0, 0)

    def _proven(self, suspects: list[str]) -> tuple[list[str], list[str]]:
        """Those that are different, and those that were written all the time."""
        proven = list[str]()
        # As of which version each was found to be different. What is not stored has none, and may
        # have been there for a moment.
        seen: dict[str, int] = {}
        for _ in range(ROUNDS):
            if not suspects:
                break
            self._catch_up()
            self._progress("compares some once more", 0, len(suspects))
            before = self._changes.versions(suspects)
            differing = self.differing(suspects)
            after = self._changes.versions(suspects)
            suspects = []
            for doc_id in differing:
                version = before.get(doc_id, 0)
                is_proven = 0 < version == after.get(doc_id) == seen.get(doc_id)
                (proven if is_proven else suspects).append(doc_id)
                seen[doc_id] = after.get(doc_id, 0)
        return proven, suspects

    def _differing_now(self, doc_ids: Sequence[str], patience_seconds: float) -> list[str]:
        has_vectors = self._identity is not None
        here = _by_id(self._source.get(doc_ids, include_vectors=has_vectors))
        there = _by_id(self._get(doc_ids, has_vectors, patience_seconds))
        return [
            doc_id
            for doc_id in doc_ids
            if (doc_id in here or doc_id in there)
            and not is_same(here.get(doc_id), there.get(doc_id))
        ]

    # Both legs

    def _probe(self, probes: Sequence[Probe], found: Comparison) -> None:
        lexical, dense = list[float](), list[float]()
        for number, probe in enumerate(probes):
            self._progress("asks both the same queries", number, len(probes))
            share, finding = self._leg("lexical", probe)
            lexical.append(share)
            found.findings += finding
            if probe.vector:
                share, finding = self._leg("dense", probe)
                dense.append(share)
                found.findings += finding
        found.probes = len(probes)
        found.lexical_overlap = fmean(lexical) if lexical else 1.0
        found.dense_overlap = fmean(dense) if dense else 1.0

    def _leg(self, name: str, probe: Probe) -> tuple[float, list[str]]:
        """How much both have in common, and what is wrong, asked again where writes may be why."""
        share, finding = 0.0, ""
        for attempt in range(ROUNDS):
            if attempt:
                self._catch_up()
            ask = probe.lexical if name == "lexical" else probe.dense
            here = ask(self._source)
            there = self._patiently(functools.partial(ask, self._target))
            if here.reason is StageReason.NOT_CONFIGURED:
                return 1.0, []  # the collection has vectors, the server no bi-encoder
            share = overlap(here, there)
            finding = fault(here) or fault(there)
            if not finding and is_whole(probe, here) and ids_of(here) != ids_of(there):
                count = len(ids_of(here) ^ ids_of(there))
                finding = f"{count} documents pass {probe.filter} in one of both only"
            if not finding:
                break
        return share, [f"the {name} leg for {probe.query[:80]!r}: {finding}"] if finding else []


def is_same(one: Document | None, other: Document | None) -> bool:
    """Whether two documents have the same content, a vector if the first one has one."""
    if one is None or other is None:
        return False
    if dict(one.fields) != dict(other.fields) or dict(one.attributes) != dict(other.attributes):
        return False
    if one.vector is None or other.vector is None:
        return one.vector is None
    return np.allclose(one.vector, other.vector, atol=VECTOR_TOLERANCE)


def _by_id(documents: Iterable[Document]) -> dict[str, Document]:
    return {document.doc_id: document for document in documents}


def _ids(documents: Iterable[Document]) -> list[str]:
    return [document.doc_id for document in documents]
