"""A collection: what is acknowledged is there, and what is deleted is gone at once."""

from __future__ import annotations

import contextlib
import dataclasses
import threading

import numpy as np
import pytest
from fakes import FakeBiEncoder
from recalling import WAIT_SECONDS, a_document, dense_ids, lexical_ids, write

from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.hidden import Hidden
from sidecar.storage import statements
from sidecar.types import Equals, StageReason


def test_a_write_is_durable_then_searchable(collection: EmbeddedCollection):
    written = collection.upsert([a_document(1, "red fox"), a_document(2, "blue owl")])
    assert (written.sequence, written.count, written.durable_sequence) == (2, 2, 2)
    assert collection.wait_searchable(2, WAIT_SECONDS)
    assert lexical_ids(collection, "foxes") == ["d0001"]
    assert dense_ids(collection, "common red fox", 1) == ["d0001"]
    assert collection.passages(["d0002", "nope"]) == {"d0002": "common\nblue owl"}
    stats = collection.stats()
    assert (stats.document_count, stats.lexical_count, stats.dense_count) == (2, 2, 2)
    assert stats.durable_sequence == stats.searchable_sequence == 2
    assert stats.disk_bytes > 0
    assert collection.verify() == []


def test_a_document_is_replaced(collection: EmbeddedCollection):
    write(collection, [a_document(1, "red fox", year=1)])
    write(collection, [a_document(1, "blue owl", colour="blue")])
    assert lexical_ids(collection, "fox") == []
    assert lexical_ids(collection, "owl") == ["d0001"]
    assert collection.lexical("owl", Equals("year", 1), 5).recalled == ()
    assert collection.get(["d0001"])[0].attributes == {"colour": "blue"}
    assert collection.stats().document_count == 1
    assert collection.verify() == []


def test_deletions_hide_at_once_and_the_legs_stay_deep(collection: EmbeddedCollection, monkeypatch):
    write(collection, [a_document(n) for n in range(20)])
    gate = threading.Event()
    apply = collection._derived.lexical.apply
    monkeypatch.setattr(
        collection._derived.lexical, "apply", lambda changes: (gate.wait(), apply(changes))
    )
    first = lexical_ids(collection, "common", 5)
    written = collection.delete([*first, "nope"])
    assert written.count == 5
    assert written.searchable_sequence < written.sequence
    for ids in (lexical_ids(collection, "common", 15), dense_ids(collection, "common", 15)):
        assert len(ids) == 15
        assert not set(ids) & set(first)
    gate.set()
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert collection.delete(["nope"]).sequence == 0
    assert collection.verify() == []


def test_what_was_recalled_before_is_found_without_the_database_until_it_is_deleted(
    collection: EmbeddedCollection, monkeypatch: pytest.MonkeyPatch
):
    """Neither the index nor the list of what it may still find knows of the deletion here."""
    write(collection, [a_document(n) for n in range(20)])
    derived, gate, asked = collection._derived, threading.Event(), []
    ids_of, apply = statements.ids_of, derived.lexical.apply
    monkeypatch.setattr(derived.lexical, "apply", lambda changes: (gate.wait(), apply(changes)))
    monkeypatch.setattr(
        statements, "ids_of", lambda *among: (asked.append(among), ids_of(*among))[1]
    )
    before = lexical_ids(collection, "common"), dense_ids(collection, "common")
    assert len(asked) == 1  # both legs find all
    assert (lexical_ids(collection, "common"), dense_ids(collection, "common")) == before
    assert len(asked) == 1
    written = collection.delete(["d0007"])
    with contextlib.ExitStack() as ending:
        ending.callback(gate.set)
        monkeypatch.setattr(type(derived), "hidden", Hidden())
        for ids, earlier in zip((lexical_ids, dense_ids), before, strict=True):
            assert ids(collection, "common") == [each for each in earlier if each != "d0007"]
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)


def test_a_filter_cuts_what_is_stored_not_what_is_still_indexed(
    collection: EmbeddedCollection, monkeypatch
):
    """Forty of sixty documents go from one tenant to another; the index does not know yet."""
    write(collection, [a_document(n, "same words", colour="red") for n in range(60)])
    gate = threading.Event()
    apply = collection._derived.lexical.apply
    monkeypatch.setattr(
        collection._derived.lexical, "apply", lambda changes: (gate.wait(), apply(changes))
    )
    moved = [a_document(n, "same secret", colour="blue") for n in range(40)]
    written = collection.upsert([*moved, a_document(59, "same words new", colour="red")])
    red, vector = Equals("colour", "red"), FakeBiEncoder().encode_queries(["same"])[0]
    with contextlib.ExitStack() as ending:
        ending.callback(gate.set)  # else a failure here would wait for it for ever
        for depth in (1, 7, 20, 60):
            wanted = {f"d{n:04}" for n in range(40, 60)}
            for leg in (
                collection.lexical("same", red, depth),
                collection.dense(vector, red, depth),
            ):
                found = [each.doc_id for each in leg.recalled]
                assert len(found) == min(depth, 20)
                assert set(found) <= wanted
        assert len(collection.lexical("same", None, 60).recalled) == 60
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert len(collection.lexical("same", red, 60).recalled) == 20
    assert len(collection.lexical("same", Equals("colour", "blue"), 60).recalled) == 40


def test_deleted_and_written_again_in_one_go(collection: EmbeddedCollection, monkeypatch):
    write(collection, [a_document(1, "red fox")])
    gate = threading.Event()
    apply = collection._derived.lexical.apply
    monkeypatch.setattr(
        collection._derived.lexical, "apply", lambda changes: (gate.wait(), apply(changes))
    )
    collection.delete(["d0001"])
    written = collection.upsert([a_document(1, "red fox again")])
    gate.set()
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert lexical_ids(collection, "fox") == ["d0001"]
    assert dense_ids(collection, "fox") == ["d0001"]
    assert collection.verify() == []


def test_ties_are_by_id_also_where_they_are_cut(collection: EmbeddedCollection):
    numbers = list(np.random.default_rng(1).permutation(300))
    write(collection, [a_document(int(n), "same words") for n in numbers])
    for depth in (1, 3, 40, 300):
        wanted = [f"d{n:04}" for n in range(depth)]
        assert lexical_ids(collection, "same", depth) == wanted
        assert dense_ids(collection, "common same words", depth) == wanted


def test_a_query_without_terms_says_so(collection: EmbeddedCollection):
    assert collection.lexical("?! the", None, 5).reason is StageReason.NO_QUERY_TERMS


def test_a_vector_of_the_caller_is_normalised_and_kept(collection: EmbeddedCollection):
    vector = [0.0] * 63 + [5.0]
    write(collection, [dataclasses.replace(a_document(1), vector=vector), a_document(2)])
    leg = collection.dense(np.array([0.0] * 63 + [1.0], np.float32), None, 1)
    assert leg.recalled[0].doc_id == "d0001"
    assert leg.recalled[0].score == pytest.approx(1.0)
    assert collection.get(["d0001"], include_vectors=True)[0].vector == [0.0] * 63 + [1.0]


def test_verify_finds_what_is_wrong(collection: EmbeddedCollection):
    write(collection, [a_document(n) for n in range(10)])
    derived = collection._derived
    ordinal = next(iter(collection._store.sequences()))
    changes = collection._store.text_changes(0, 100, 10**9)
    derived.lexical.apply(dataclasses.replace(changes, written=changes.written[1:-1], deleted=[1]))
    findings = " ".join(collection.verify())
    assert f"the lexical index lacks documents with ordinal {ordinal}" in findings
    assert derived.generations.leading is not None
    assert collection._store.leading is not None
    dense, vectors = derived.generations.leading.dense, collection._store.leading.changes(0, 100)
    dense.apply(dataclasses.replace(vectors, vectors=vectors.vectors[::-1]), dense.bi_encoder)
    where = "the dense index of fake-words at revision fake-1"
    assert f"{where} has other vectors" in " ".join(collection.verify())
    nothing = dataclasses.replace(
        vectors, ordinals=vectors.ordinals[:0], vectors=vectors.vectors[:0], forget=[ordinal]
    )
    dense.apply(nothing, dense.bi_encoder)
    assert f"{where} lacks documents with ordinal {ordinal}" in " ".join(collection.verify())


def test_many_deletions_make_no_search_deep(collection: EmbeddedCollection, monkeypatch):
    """While the index thread has not got to them."""
    write(collection, [a_document(n, f"word{n % 7}") for n in range(300)])
    derived, asked = collection._derived, []
    dense, lexical = derived.generations.leading.dense, derived.lexical

    def fail(*arguments):
        raise OSError("made to fail")

    def counted(search):
        def ask(query, *arguments):
            found = search(query, *arguments)
            asked.append(next(each for each in arguments if isinstance(each, int)))
            return found

        return ask

    monkeypatch.setattr(lexical, "apply", fail)
    monkeypatch.setattr(dense, "apply", fail)
    collection.delete([f"d{n:04}" for n in range(300) if n % 30])
    monkeypatch.setattr(dense, "search", counted(dense.search))
    assert set(dense_ids(collection, "common", 20)) == {f"d{n:04}" for n in range(0, 300, 30)}
    assert max(asked) < 100
    asked.clear()
    monkeypatch.setattr(lexical, "search", counted(lexical.search))
    assert len(lexical_ids(collection, "common", 3)) == 3
    assert asked[0] < 100
    assert set(lexical_ids(collection, "common", 20)) == {f"d{n:04}" for n in range(0, 300, 30)}
    monkeypatch.undo()
