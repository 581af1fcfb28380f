"""Attributes in memory against the documents themselves, whatever is written meanwhile."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from counting import counted, requests
from fakes import FakeBiEncoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap
from recalling import ATTRIBUTES, SCHEMA, a_collection, a_document, attributes, filters, matches

import sidecar.recall.embedded.columns as columns_module
from sidecar.config import AttributesConfig, Config
from sidecar.errors import InvalidFieldError, StorageError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.column_view import ColumnView
from sidecar.recall.embedded.columns import AttributeColumns
from sidecar.recall.embedded.facets import matching_facets
from sidecar.recall.embedded.filters import attribute_names, matching
from sidecar.types import (
    AllOf,
    Equals,
    FacetRequest,
    Filter,
    NoneOf,
    Range,
)

NAMES = frozenset(attribute.name for attribute in ATTRIBUTES)
MAX_BYTES = 1 << 20
WAIT_SECONDS = 60.0


class Kept:
    """A collection, columns over its documents, and what these hold."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.collection = a_collection(folder)
        self.store = self.collection._store
        self.columns = AttributeColumns(self.store, max_bytes)
        self.held: dict[str, dict] = {}

    def write(self, numbers: dict[int, dict]) -> None:
        documents = [a_document(number, **values) for number, values in numbers.items()]
        self.collection.upsert(documents)
        self.held |= {document.doc_id: dict(document.attributes) for document in documents}

    def delete(self, numbers: list[int]) -> None:
        doc_ids = [f"d{number:04}" for number in numbers]
        self.collection.delete(doc_ids)
        self.held = {doc_id: v for doc_id, v in self.held.items() if doc_id not in doc_ids}

    def found(self, filter: Filter) -> set[str]:
        with self.columns.asking(attribute_names(filter)) as asked:
            return set(self.store.doc_ids(list(matching(filter, asked))).values())

    def wanted(self, filter: Filter) -> set[str]:
        return {doc_id for doc_id, values in self.held.items() if matches(filter, values)}

    def facets(self, asked: list[FacetRequest], filter: Filter):
        with self.columns.asking(NAMES) as held:
            return matching_facets(asked, matching(filter, held), held, SCHEMA.attribute_types())


@pytest.fixture
def kept(tmp_path: Path):
    kept = Kept(tmp_path)
    yield kept
    kept.columns.close()
    kept.collection.close()


numbers = st.integers(0, 15)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.dictionaries(numbers, attributes, min_size=1, max_size=8)),
        st.tuples(st.just("delete"), st.lists(numbers, min_size=1, max_size=4)),
        st.tuples(st.just("settle"), st.none()),
        st.tuples(st.just("load"), st.none()),
    ),
    max_size=8,
)


@pytest.mark.parametrize("max_bytes", [MAX_BYTES, 400, 0], ids=["all", "some", "none"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=steps,
    asked=st.lists(filters, min_size=1, max_size=4),
    facets=st.lists(requests, max_size=3),
)
def test_whatever_is_written_answers_are_those_of_the_documents(max_bytes, steps, asked, facets):
    folder = Path(tempfile.mkdtemp())
    kept = Kept(folder, max_bytes)
    try:
        for step, argument in [("load", None), *steps]:
            if argument is None:
                getattr(kept.columns, step)()
            else:
                getattr(kept, step)(argument)
            assert kept.columns.findings() == []
            for filter in asked:
                assert kept.found(filter) == kept.wanted(filter)
                passing = [kept.held[doc_id] for doc_id in kept.wanted(filter)]
                assert kept.facets(facets, filter) == tuple(
                    counted(request, passing) for request in facets
                )
    finally:
        kept.collection.close()
        shutil.rmtree(folder)


RED = Equals("colour", "red")


def test_the_database_answers_until_they_are_read_and_while_they_are_far_behind(kept, monkeypatch):
    monkeypatch.setattr(columns_module, "MAX_BEHIND", 2)
    kept.write({1: {"colour": "red"}})
    assert kept.columns.watermark == -1
    assert kept.found(RED) == {"d0001"}
    kept.columns.load()
    kept.write({2: {"colour": "red"}, 3: {"colour": "red"}})
    assert kept.found(RED) == {"d0001", "d0002", "d0003"}
    assert kept.columns.watermark == kept.store.sequence
    kept.write({number: {"colour": "red"} for number in range(4, 8)})
    assert kept.found(RED) == kept.wanted(RED)
    assert kept.columns.watermark == kept.store.sequence - 4


def test_what_cannot_follow_since_deletions_are_forgotten_is_read_anew(kept):
    kept.write({1: {"colour": "red"}, 2: {"colour": "red"}})
    kept.columns.load()
    kept.delete([1])
    kept.store.prune(kept.store.sequence)
    assert kept.found(RED) == {"d0002"}
    assert kept.columns.watermark == -1
    kept.columns.load()
    assert kept.found(RED) == {"d0002"}


def test_deletions_do_not_have_them_read_anew(tmp_path, monkeypatch):
    """Without a bi-encoder: the lexical index alone would have deletions forgotten at once."""
    monkeypatch.setattr(columns_module, "IDLE_SECONDS", 3600.0)  # nobody but who asks
    collection = EmbeddedCollection.create(tmp_path / "things", "things", SCHEMA, None, Config())
    columns, store = collection._columns, collection._store
    held = [a_document(number, colour="red") for number in range(20)]
    collection.upsert(held)
    columns.load()
    for number in range(10):
        written = collection.delete([held[number].doc_id])
        assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
        collection._derived._prune()  # as the index thread does, if it has not yet
        assert len(collection.lexical("common", RED, 50).recalled) == 19 - number
        assert columns.watermark == written.sequence
    assert 0 < store.pruned_sequence() <= written.sequence
    assert columns.keeps(written.sequence) == written.sequence  # now that they have it
    collection.close()


def test_deletions_are_not_forgotten_while_they_are_read_or_settled(kept, monkeypatch):
    kept.write({number: {"colour": "red"} for number in range(1, 6)})
    kept.columns.load()
    kept.delete([1])
    read, settled = AttributeColumns._read, ColumnView.settled

    def delete_meanwhile(number: int) -> None:
        kept.delete([number])
        kept.store.prune(kept.columns.keeps(kept.store.sequence))

    def read_slowly(columns, *arguments):
        if "d0002" in kept.held:
            delete_meanwhile(2)
        return read(columns, *arguments)

    def settle_slowly(view):
        done = settled(view)
        delete_meanwhile(3)
        assert kept.found(RED) == kept.wanted(RED)  # the view goes on meanwhile
        delete_meanwhile(4)
        return done

    monkeypatch.setattr(AttributeColumns, "_read", read_slowly)
    kept.columns.load()
    assert kept.found(RED) == kept.wanted(RED) == {"d0003", "d0004", "d0005"}
    assert kept.columns.watermark == kept.store.sequence
    monkeypatch.setattr(ColumnView, "settled", settle_slowly)
    kept.columns.settle()
    assert kept.found(RED) == kept.wanted(RED) == {"d0005"}
    assert kept.columns.watermark == kept.store.sequence


def test_deletions_are_not_remembered_for_long(kept, monkeypatch):
    monkeypatch.setattr(columns_module, "MAX_KEPT_WRITES", 3)
    assert kept.columns.keeps(7) == 7  # not read: nothing is needed
    kept.write({number: {"colour": "red"} for number in range(1, 6)})
    kept.columns.load()
    assert [kept.columns.keeps(upto) for upto in (4, 5, 8, 9)] == [4, 5, 5, 9]


def test_an_attribute_that_does_not_fit_is_left_to_the_database_and_said(tmp_path, caplog):
    kept = Kept(tmp_path, 4_000)
    try:
        kept.write({n: {"colour": f"colour {n}", "new": True} for n in range(60)})
        with caplog.at_level(logging.WARNING):
            kept.columns.load()
        assert "attribute 'colour' has too many different values" in caplog.text
        assert set(kept.columns.held) == NAMES - {"colour"}
        both = AllOf((Equals("colour", "colour 7"), Equals("new", True)))
        assert kept.found(both) == {"d0007"}
        kept.write({7: {"colour": "colour 7"}, 8: {"colour": "colour 7", "new": True}})
        assert kept.found(both) == {"d0008"}
    finally:
        kept.collection.close()


def test_one_that_grows_beyond_what_fits_is_left_out_when_it_settles(tmp_path):
    kept = Kept(tmp_path, 4_000)
    try:
        kept.columns.load()
        kept.write({n: {"colour": f"colour {n}", "year": 1} for n in range(60)})
        assert kept.found(Equals("colour", "colour 7")) == {"d0007"}
        assert "colour" in kept.columns.held
        kept.columns.settle()
        assert set(kept.columns.held) == NAMES - {"colour"}
        assert kept.found(Equals("colour", "colour 7")) == {"d0007"}
    finally:
        kept.collection.close()


def test_the_thread_follows_and_settles_by_itself(kept, monkeypatch):
    monkeypatch.setattr(columns_module, "IDLE_SECONDS", 0.001)
    monkeypatch.setattr(columns_module, "STALE_LEAST", 3)
    settled = threading.Event()
    settle = kept.columns.settle

    def settle_and_tell() -> None:
        settle()
        settled.set()

    monkeypatch.setattr(kept.columns, "settle", settle_and_tell)
    kept.columns.load()
    kept.columns.start()
    for number in range(1, 12):
        kept.write({number: {"colour": "red"}})
    assert settled.wait(WAIT_SECONDS)
    assert len(kept.columns._view.stale) < 11
    assert kept.found(RED) == kept.wanted(RED)


def test_a_failure_is_tried_again(kept, monkeypatch, caplog):
    monkeypatch.setattr(columns_module, "RETRY_SECONDS", 0.001)
    load, tries, done = kept.columns.load, [], threading.Event()

    def failing_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise StorageError("the disk reports an input/output error")
        load()
        done.set()

    monkeypatch.setattr(kept.columns, "load", failing_once)
    kept.write({1: {"colour": "red"}})
    kept.columns.start()
    assert done.wait(WAIT_SECONDS)
    assert kept.columns.watermark == kept.store.sequence
    assert "input/output error" in caplog.text


@pytest.mark.parametrize("left_out", [frozenset(), frozenset({"colour"})], ids=["all", "some"])
def test_an_answer_is_as_of_one_moment_while_others_write_and_settle(kept, left_out):
    """Every document is red in year 1, or blue in year 2, and is written over and over."""
    sides = ({"colour": "red", "year": 1}, {"colour": "blue", "year": 2})
    kept.write(dict.fromkeys(range(4), sides[0]))
    kept.columns.load()
    for name in left_out:
        kept.columns._view = kept.columns._view.without(name)
    ended = threading.Event()

    def write() -> None:
        for turn in range(120):
            kept.write({turn % 4: sides[turn // 4 % 2]})
            if turn % 10 == 0:
                kept.columns.settle()
        ended.set()

    impossible = [
        AllOf((RED, Equals("year", 2))),
        AllOf((RED, NoneOf((Range("year", 1, 1),)))),
        AllOf((NoneOf((RED, Equals("year", 2))),)),
    ]
    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not ended.is_set():
            for filter in impossible:
                assert kept.found(filter) == set()
    finally:
        writer.join()
    assert kept.found(RED) == kept.wanted(RED)


def test_a_collection_reads_them_and_ends_the_thread(tmp_path):
    collection = a_collection(tmp_path)
    names = {thread.name for thread in threading.enumerate()}
    assert "attributes things" in names
    collection.close()
    assert "attributes things" not in {thread.name for thread in threading.enumerate()}


def test_without_room_for_any_the_database_answers(tmp_path):
    config = Config(attributes=AttributesConfig(max_bytes=0))
    collection = EmbeddedCollection.create(
        tmp_path / "things", "things", SCHEMA, FakeBiEncoder(), config
    )
    try:
        assert "attributes things" not in {thread.name for thread in threading.enumerate()}
        collection.upsert([a_document(1, colour="red"), a_document(2, colour="blue")])
        (colours,) = collection.facets([FacetRequest("colour")], NoneOf((RED,)))
        assert [count.of for count in colours.counts] == ["blue"]
    finally:
        collection.close()


def test_facets_of_a_collection_are_checked_and_counted_as_of_the_last_write(kept):
    kept.write({n: {"colour": "red" if n % 3 else "blue", "year": n % 2} for n in range(30)})
    kept.delete([0])
    asked = [FacetRequest("colour"), FacetRequest("year", limit=1)]
    for filter in (None, RED):
        found = kept.collection.facets(asked, filter)
        held = [v for v in kept.held.values() if filter is None or matches(filter, v)]
        assert found == tuple(counted(request, held) for request in asked)
    with pytest.raises(InvalidFieldError, match=r"facets\[1\].attribute"):
        kept.collection.facets([FacetRequest("colour"), FacetRequest("yaer")], None)
    with pytest.raises(InvalidFieldError, match=r"filter.equals.attribute"):
        kept.collection.facets(asked, Equals("yaer", 1))


def test_verify_finds_what_is_not_as_the_database_has_it(tmp_path, monkeypatch):
    collection = a_collection(tmp_path)
    try:
        collection._columns.load()
        collection.upsert([a_document(n, colour="red", year=n % 2) for n in range(5)])
        assert collection.verify() == []
        followed = collection._columns._view
        collection._store._database._writer.execute(
            "UPDATE attribute_values SET value = 'blue' WHERE name = 'colour' AND ordinal = 3"
        )
        findings = collection.verify()
        assert any("the attribute 'colour' in memory differs" in each for each in findings)
        less = dataclasses.replace(followed, documents=BitMap([1, 2]))
        monkeypatch.setattr(collection._columns, "_view", less)
        assert any("which documents there are" in each for each in collection.verify())
    finally:
        collection.close()
