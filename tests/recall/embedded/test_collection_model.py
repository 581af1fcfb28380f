"""A collection under random writes, deletions and reopenings, against a dictionary."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from recalling import WAIT_SECONDS, a_collection, a_document, dense_ids, lexical_ids, reopened


class Model(RuleBasedStateMachine):
    """Random writes, deletions and reopenings against a dictionary."""

    numbers = st.lists(st.integers(0, 15), min_size=1, max_size=5, unique=True)

    def __init__(self) -> None:
        import tempfile

        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.collection = a_collection(Path(self.folder.name))
        self.held: dict[str, str] = {}

    @rule(numbers=numbers, version=st.integers(0, 50))
    def upsert(self, numbers: list[int], version: int) -> None:
        documents = [a_document(number, f"version{version}") for number in numbers]
        self.collection.upsert(documents)
        self.held |= {document.doc_id: document.fields["text"] for document in documents}

    @rule(numbers=numbers)
    def delete(self, numbers: list[int]) -> None:
        doc_ids = [f"d{number:04}" for number in numbers]
        written = self.collection.delete(doc_ids)
        gone = [self.held.pop(doc_id, None) for doc_id in doc_ids]
        assert written.count == sum(text is not None for text in gone)
        assert not set(lexical_ids(self.collection, "common")) & set(doc_ids)
        assert not set(dense_ids(self.collection, "common")) & set(doc_ids)

    @rule()
    def reopen(self) -> None:
        self.collection = reopened(self.collection)

    @precondition(lambda self: self.held)
    @rule()
    def search(self) -> None:
        sequence = self.collection.stats().durable_sequence
        assert self.collection.wait_searchable(sequence, WAIT_SECONDS)
        assert set(lexical_ids(self.collection, "common")) == set(self.held)
        assert set(dense_ids(self.collection, "common")) == set(self.held)

    @invariant()
    def the_truth_is_the_dictionary(self) -> None:
        read = self.collection.fields([f"d{number:04}" for number in range(16)])
        assert {doc_id: fields["text"] for doc_id, fields in read.items()} == self.held

    def teardown(self) -> None:
        assert self.collection.verify() == []
        self.collection.close()
        self.folder.cleanup()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=4, stateful_step_count=15, deadline=None)
