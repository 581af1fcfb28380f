"""Random writes, some conditional, some sent again, against a dictionary {id: (version, text)}.

The collection is closed and opened in between, or opened from a copy of its files as a kill leaves
them. Whatever is acknowledged is read and found by whoever waits for its sequence number.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes import FakeBiEncoder
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from recalling import SCHEMA, WAIT_SECONDS

from sidecar.config import Config
from sidecar.errors import RequestIdReusedError
from sidecar.recall.collection import Written
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.types import Document, VersionConflict

IDS = [f"d{number}" for number in range(6)]
# What is expected of a document: nothing, what is there, that it is new, or what may be wrong.
EXPECTATIONS = ("anything", "as it is", "new", "older")

chosen_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True)
expectations = st.lists(st.sampled_from(EXPECTATIONS), min_size=3, max_size=3)
request_ids = st.sampled_from(["", "", "r1", "r2", "r3", "r4"])
texts = st.integers(0, 9).map("word{}".format)


@dataclass(frozen=True)
class Request:
    """A write as it was sent."""

    doc_ids: tuple[str, ...]
    text: str  # of all documents; empty: they are deleted
    expected: tuple[int | None, ...]


class WritesModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "0" / "things"
        self.collection: EmbeddedCollection | None = None
        self.held: dict[str, tuple[int, str]] = {}
        self.known: dict[str, tuple[Request, Written]] = {}
        self.last = 0

    @initialize()
    def create(self) -> None:
        self.collection = EmbeddedCollection.create(
            self.folder, "things", SCHEMA, FakeBiEncoder(), Config()
        )

    def teardown(self) -> None:
        if self.collection is not None:
            self.collection.close()
        shutil.rmtree(self.root)

    # Writes

    @rule(doc_ids=chosen_ids, text=texts, wanted=expectations, request_id=request_ids)
    def upsert(self, doc_ids: list[str], text: str, wanted: list[str], request_id: str) -> None:
        expected: list[int | None] = []
        for doc_id, what in zip(doc_ids, wanted, strict=False):
            version = self.held.get(doc_id, (0, ""))[0]
            of_kind = {"anything": None, "as it is": version, "new": 0}
            expected.append(of_kind.get(what, max(0, version - 1)))
        conditions = tuple(expected) if any(each is not None for each in expected) else ()
        self.send(Request(tuple(doc_ids), text, conditions), request_id)

    @rule(doc_ids=chosen_ids, wanted=expectations, request_id=request_ids)
    def delete(self, doc_ids: list[str], wanted: list[str], request_id: str) -> None:
        expected: list[int | None] = []
        for doc_id, what in zip(doc_ids, wanted, strict=False):
            version = self.held.get(doc_id, (0, ""))[0]
            expected.append({"as it is": version, "older": version + 1}.get(what, 0))
        conditions = tuple(expected) if any(expected) else ()
        self.send(Request(tuple(doc_ids), "", conditions), request_id)

    @precondition(lambda self: self.known)
    @rule(draw=st.data())
    def send_again(self, draw: st.DataObject) -> None:
        request_id = draw.draw(st.sampled_from(sorted(self.known)))
        request, first = self.known[request_id]
        again = self.written(request, request_id)
        assert again.repeated
        assert (again.sequence, again.count, again.versions, again.conflicts) == (
            first.sequence,
            first.count,
            first.versions,
            (),
        )
        assert again.durable_sequence == self.last

    def send(self, request: Request, request_id: str) -> None:
        if request_id in self.known:
            if self.known[request_id][0] != request:
                with pytest.raises(RequestIdReusedError):
                    self.written(request, request_id)
            return
        written = self.written(request, request_id)
        assert not written.repeated
        conflicts = self.conflicts(request)
        assert written.conflicts == conflicts
        if conflicts:
            assert (written.sequence, written.count, written.versions) == (0, 0, ())
            return
        self.apply(request, written)
        assert written.durable_sequence == self.last
        if request_id:
            self.known[request_id] = request, written

    def written(self, request: Request, request_id: str) -> Written:
        assert self.collection is not None
        if not request.text:
            return self.collection.delete(
                request.doc_ids,
                request_id=request_id,
                expected_versions=[version or 0 for version in request.expected],
            )
        documents = [
            Document(doc_id, {"title": "common", "text": request.text})
            for doc_id in request.doc_ids
        ]
        return self.collection.upsert(
            documents, request_id=request_id, expected_versions=request.expected
        )

    def conflicts(self, request: Request) -> tuple[VersionConflict, ...]:
        found = []
        for doc_id, version in zip(request.doc_ids, request.expected, strict=False):
            is_condition = version is not None if request.text else bool(version)
            stored = self.held.get(doc_id, (0, ""))[0]
            if is_condition and version != stored:
                found.append(VersionConflict(doc_id, stored))
        return tuple(found)

    def apply(self, request: Request, written: Written) -> None:
        changed = list(request.doc_ids)
        if not request.text:
            changed = [doc_id for doc_id in request.doc_ids if doc_id in self.held]
        assert written.count == len(changed)
        versions = tuple(range(self.last + 1, self.last + 1 + len(changed)))
        assert written.sequence == (versions[-1] if versions else 0)
        assert written.versions == (versions if request.text else ())
        for doc_id, version in zip(changed, versions, strict=True):
            if request.text:
                self.held[doc_id] = version, request.text
            else:
                del self.held[doc_id]
        self.last += len(changed)

    # Between writes

    @rule()
    def reopen(self) -> None:
        assert self.collection is not None
        self.collection.close()
        self.open()

    @rule(with_indexes=st.booleans())
    def open_as_after_a_kill(self, with_indexes: bool) -> None:
        assert self.collection is not None
        # A copy takes a while: what is copied must not change meanwhile.
        assert self.collection.wait_searchable(self.last, WAIT_SECONDS)
        killed = self.root / f"{int(self.folder.parent.name) + 1}" / "things"
        left_out = _not_of_a_kill if with_indexes else _not_of_documents
        shutil.copytree(self.folder, killed, ignore=left_out)
        self.collection.close()
        self.folder = killed
        self.open()

    def open(self) -> None:
        self.collection = EmbeddedCollection.open(self.folder, FakeBiEncoder(), Config())
        assert self.collection.repairs == ()

    # Reads

    @invariant()
    def is_as_acknowledged(self) -> None:
        if self.collection is None:
            return
        read = {each.doc_id: each for each in self.collection.get(IDS)}
        assert self.held == {i: (each.version, each.fields["text"]) for i, each in read.items()}
        assert self.collection.durable_sequence == self.last
        assert self.collection.describe().document_count == len(self.held)

    @rule()
    def is_found(self) -> None:
        assert self.collection is not None
        assert self.collection.wait_searchable(self.last, WAIT_SECONDS)
        found = self.collection.lexical("common", None, 10).recalled
        assert {each.doc_id for each in found} == set(self.held)
        for text in {text for _, text in self.held.values()}:
            found = self.collection.lexical(text, None, 10).recalled
            wanted = {doc_id for doc_id, (_, its) in self.held.items() if its == text}
            assert {each.doc_id for each in found} == wanted
        vector = FakeBiEncoder().encode_queries(["common"])[0]
        near = self.collection.dense(vector, None, 10).recalled
        assert {each.doc_id for each in near} == set(self.held)

    @rule()
    def is_whole(self) -> None:
        assert self.collection is not None
        assert self.collection.verify() == []


def _not_of_a_kill(folder: str, names: list[str]) -> list[str]:
    """Who holds the lock, and SQLite's index of the log, which is made anew."""
    return [name for name in names if name == "lock" or name.endswith("-shm")]


def _not_of_documents(folder: str, names: list[str]) -> list[str]:
    """And the indexes, which are, too."""
    indexes = [name for name in names if name == "lexical" or name.startswith("dense")]
    return [*_not_of_a_kill(folder, names), *indexes]


TestWrites = WritesModel.TestCase
TestWrites.settings = settings(max_examples=12, stateful_step_count=25, derandomize=True)
