"""Random writes, builds, exchanges and drops of generations, against a dictionary and a scan."""

from __future__ import annotations

from pathlib import Path

from fakes import FakeBiEncoder
from generations import found, ready, settled
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from recalling import Encoder, a_collection, a_document, assert_same, reopened, scanned

from sidecar.recall.encoding import identity_of


class Model(RuleBasedStateMachine):
    """Random writes, builds, exchanges, drops and reopenings against a dictionary and a scan."""

    numbers = st.lists(st.integers(0, 15), min_size=1, max_size=5, unique=True)
    which = st.integers(0, 2)

    def __init__(self) -> None:
        import tempfile

        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.encoders = [FakeBiEncoder(), Encoder("fake-2", 48), Encoder("fake-3", 64)]
        self.collection = a_collection(Path(self.folder.name))
        self.at_hand = {0}
        self.leading = 0
        self.stored = {0}
        self.held: dict[str, str] = {}

    @rule(numbers=numbers, version=st.integers(0, 50))
    def upsert(self, numbers: list[int], version: int) -> None:
        documents = [a_document(number, f"version{version}") for number in numbers]
        self.collection.upsert(documents)
        self.held |= {document.doc_id: document.fields["text"] for document in documents}

    @rule(numbers=numbers)
    def delete(self, numbers: list[int]) -> None:
        doc_ids = [f"d{number:04}" for number in numbers]
        self.collection.delete(doc_ids)
        for doc_id in doc_ids:
            self.held.pop(doc_id, None)

    @rule(which=which)
    def add(self, which: int) -> None:
        self.collection.add_generation(self.encoders[which])
        self.at_hand.add(which)
        self.stored.add(which)

    @rule(which=which)
    def lead(self, which: int) -> None:
        if which in self.at_hand:
            ready(self.collection, self.encoders[which])
            self.collection.lead_with(identity_of(self.encoders[which]))
            self.leading = which

    @rule(which=which)
    def drop(self, which: int) -> None:
        if which != self.leading:
            self.collection.drop_generation(identity_of(self.encoders[which]))
            self.at_hand.discard(which)
            self.stored.discard(which)

    @rule(which=which)
    def reopen(self, which: int) -> None:
        if which in self.stored:
            self.collection = reopened(self.collection, self.encoders[which])
            self.at_hand, self.leading = {which}, which

    @rule(version=st.integers(0, 50))
    def search(self, version: int) -> None:
        for which in self.at_hand:
            encoder, query = self.encoders[which], f"version{version}"
            settled(self.collection, encoder)
            found_now = found(self.collection, encoder, query, 20)
            assert_same(found_now, scanned(self.held, encoder, query, 20))
            assert {doc_id for doc_id, _ in found_now} == set(self.held)

    @invariant()
    def the_leading_one_is_known(self) -> None:
        revision = self.encoders[self.leading].contract.revision
        assert self.collection.describe().bi_encoder_revision == revision

    def teardown(self) -> None:
        assert self.collection.verify() == []
        assert self.collection.repairs == ()
        self.collection.close()
        self.folder.cleanup()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=6, stateful_step_count=20, deadline=None)
