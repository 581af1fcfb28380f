"""Verify finds what is wrong, and nothing else, while writes go on."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBiEncoder
from hypothesis import given
from hypothesis import strategies as st
from recalling import WAIT_SECONDS, Encoder, a_collection, a_document, write
from steady import SteadyWriter

from sidecar.config import Config
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.comparing import dense_findings, lexical_findings
from sidecar.recall.embedded.verify import check_files
from sidecar.recall.encoding import identity_of
from sidecar.storage.checksums import checksum_of_vector
from sidecar.storage.stored_generations import VectorChanges
from sidecar.storage.text_changes import TextChange, TextChanges
from sidecar.storage.versions import Versions, to_rows

COUNT = 30
DATABASE = "documents.sqlite"


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[EmbeddedCollection]:
    collection = a_collection(tmp_path)
    write(collection, [a_document(n, year=n) for n in range(COUNT)])
    collection.delete(["d0003"])
    assert collection.wait_searchable(collection.durable_sequence, WAIT_SECONDS)
    yield collection
    collection.close()


@contextlib.contextmanager
def sql(collection: EmbeddedCollection) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(collection.folder / DATABASE)) as connection:
        yield connection
        connection.commit()


def statement(text: str) -> Callable[[EmbeddedCollection], None]:
    def plant(collection: EmbeddedCollection) -> None:
        with sql(collection) as connection:
            assert connection.execute(text).rowcount == 1

    return plant


def a_byte_in_a_vector(collection: EmbeddedCollection) -> None:
    with sql(collection) as connection:
        query = "SELECT vector FROM vectors_1 WHERE ordinal = 5"
        (blob,) = connection.execute(query).fetchone()
        damaged = bytes([blob[0] ^ 1]) + blob[1:]
        connection.execute("UPDATE vectors_1 SET vector = ? WHERE ordinal = 5", (damaged,))


def another_vector(collection: EmbeddedCollection) -> None:
    blob = np.eye(64, dtype="<f4")[5].tobytes()
    with sql(collection) as connection:
        connection.execute(
            "UPDATE vectors_1 SET vector = ?, checksum = ? WHERE ordinal = 5",
            (blob, checksum_of_vector(5, blob)),
        )


def lexical_without_an_entry(collection: EmbeddedCollection) -> None:
    lexical = collection._derived.lexical
    lexical.apply(TextChanges(lexical.watermark, [], [5]))


def lexical_with_one_more(collection: EmbeddedCollection) -> None:
    lexical = collection._derived.lexical
    more = TextChange(4, lexical.watermark, {"title": "more", "text": "more"}, {})  # d0003 had it
    lexical.apply(TextChanges(lexical.watermark, [more], []))


def change_dense(collection: EmbeddedCollection, added: list[int], forgotten: list[int]) -> None:
    leading = collection._derived.generations.leading
    assert leading is not None
    changes = VectorChanges(
        leading.dense.watermark,
        np.array(added, np.int64),
        np.eye(64, dtype=np.float32)[: len(added)],
        forgotten,
    )
    leading.dense.apply(changes, leading.identity)


def flip_a_segment(collection: EmbeddedCollection) -> None:
    path = max((collection.folder / "lexical").glob("*.term"), key=lambda each: each.stat().st_size)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 3)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))


FAULTS: dict[str, tuple[Callable[[EmbeddedCollection], None], str]] = {
    "a document taken away": (
        statement("DELETE FROM documents WHERE ordinal = 5"),
        "the lexical index has documents that are not stored: with ordinal 5",
    ),
    "a document slipped in": (
        statement(
            "INSERT INTO documents (doc_id, sequence, fields, attributes)"
            " VALUES ('x', -1, '{}', '{}')"
        ),
        "the lexical index lacks documents with ordinal 31",
    ),
    "another version": (
        statement("UPDATE documents SET sequence = -5 WHERE ordinal = 5"),
        "the lexical index has older versions of documents with ordinal 5",
    ),
    "a letter in a text": (
        statement(
            "UPDATE documents SET fields = replace(fields, 'word4', 'ward4') WHERE ordinal = 5"
        ),
        "document 'd0004' is damaged on the disk",
    ),
    "a byte in a vector": (
        a_byte_in_a_vector,
        "document 'd0004' is damaged on the disk",
    ),
    "another vector": (another_vector, "has other vectors of documents with ordinal 5"),
    "a vector that is lost": (
        statement("DELETE FROM vectors_1 WHERE ordinal = 5"),
        "1 documents whose vector is lost",
    ),
    "a vector that nothing leads to": (
        statement("DELETE FROM encoded WHERE ordinal = 5"),
        "has documents that are not stored: with ordinal 5",
    ),
    "a vector that is no vector": (
        statement("UPDATE vectors_1 SET vector = CAST(x'ff' AS TEXT) WHERE ordinal = 5"),
        "documents.sqlite: Could not decode",
    ),
    "an attribute of nobody": (
        statement("INSERT INTO attribute_values VALUES ('year', 7, 999)"),
        "1 rows of attribute_values without a document",
    ),
    "the lexical index lacks one": (
        lexical_without_an_entry,
        "the lexical index lacks documents with ordinal 5",
    ),
    "the lexical index has one more": (
        lexical_with_one_more,
        "the lexical index has documents that are not stored: with ordinal 4",
    ),
    "a segment of it is damaged": (flip_a_segment, "its checksum is not the one"),
    "the dense index lacks one": (
        lambda collection: change_dense(collection, [], [5]),
        "lacks documents with ordinal 5",
    ),
    "the dense index has one more": (
        lambda collection: change_dense(collection, [4], []),
        "has documents that are not stored: with ordinal 4",
    ),
    "the dense index has another vector": (
        lambda collection: change_dense(collection, [5], []),
        "has other vectors of documents with ordinal 5",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(collection: EmbeddedCollection, fault: str) -> None:
    plant, said = FAULTS[fault]
    assert collection.verify() == []
    plant(collection)
    findings = collection.verify()
    assert any(said in finding for finding in findings), findings


def test_writes_that_come_meanwhile_are_no_findings(collection: EmbeddedCollection) -> None:
    writer = SteadyWriter(collection)
    writer.start()
    rounds = 0
    try:
        first = collection.durable_sequence
        while rounds < 5 or collection.durable_sequence < first + 200:
            assert collection.verify() == []
            rounds += 1
    finally:
        writer.ending.set()
        writer.join()


def test_writes_go_on_while_it_is_verified(collection: EmbeddedCollection) -> None:
    """Written from within, which would wait for ever if writes were kept away."""
    steps = []

    def meddle(step: str, done: int, total: int) -> None:
        steps.append(step)
        number = 100 + len(steps)
        collection.upsert([a_document(number), a_document(5, f"again{number}")])
        collection.delete(["d0007", f"d{number - 1:04}"])

    assert collection.verify(meddle) == []
    assert {"compares the lexical index", "compares vectors"} <= set(steps)


def test_a_fault_is_found_among_writes(collection: EmbeddedCollection) -> None:
    change_dense(collection, [4], [])  # an ordinal that no document has, so no write mends it
    writer = SteadyWriter(collection)
    writer.start()
    try:
        findings = collection.verify()
        assert any("not stored: with ordinal 4" in finding for finding in findings), findings
    finally:
        writer.ending.set()
        writer.join()


def test_two_generations_one_of_them_away(tmp_path: Path) -> None:
    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(COUNT)])
    other = Encoder("fake-2")
    collection.add_generation(other)
    assert collection.wait_generation(identity_of(other), WAIT_SECONDS)
    assert collection.verify() == []
    collection.close()
    again = EmbeddedCollection.open(tmp_path / "things", FakeBiEncoder(), Config())
    write(again, [a_document(n, "later") for n in range(5)])
    assert again.verify() == []
    with sql(again) as connection:
        connection.execute(
            "UPDATE vectors_2 SET vector = (SELECT vector FROM vectors_2 WHERE ordinal = 9),"
            " checksum = NULL WHERE ordinal = 8"
        )
    findings = again.verify()
    assert len(findings) == 1
    assert "fake-2 has other vectors of documents with ordinal 8" in findings[0]
    again.close()


def test_who_does_not_wait_ends_it(collection: EmbeddedCollection) -> None:
    def leave(step: str, done: int, total: int) -> None:
        raise KeyError(step)

    with pytest.raises(KeyError):
        collection.verify(leave)
    assert collection.verify() == []


# The comparison alone, against a history of writes: what the index may be at any moment between the
# looks is never a finding, and what it can be at no moment always is.

OPERATIONS = st.lists(st.tuples(st.sampled_from("pd"), st.integers(1, 4)), max_size=12)


def histories(operations: list[tuple[str, int]]) -> list[tuple[Versions, dict[int, int]]]:
    """The state after each operation: put (a new document or an old one), delete."""
    held: dict[int, int] = {}
    last, sequence = 0, 0
    states = [(Versions(0, 0, to_rows([])), dict(held))]
    for what, place in operations:
        living = sorted(held)
        if what == "d" and living:
            sequence += 1
            held.pop(living[place % len(living)])
        elif what == "p":
            sequence += 1
            ordinal = living[place % len(living)] if place > 2 and living else last + 1
            last = max(last, ordinal)
            held[ordinal] = sequence
        states.append((Versions(sequence, last, to_rows(sorted(held.items()))), dict(held)))
    return states


@given(OPERATIONS, st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_what_the_index_was_at_any_moment_between_is_no_finding(
    operations: list[tuple[str, int]], one: int, two: int, three: int
) -> None:
    states = histories(operations)
    first, middle, last = sorted(min(each, len(operations)) for each in (one, two, three))
    (before, _), (_, held), (after, _) = states[first], states[middle], states[last]
    entries = to_rows(sorted(held.items()))
    assert lexical_findings(before, entries, after) == []
    looks = ((before, before.rows), (after, after.rows))
    assert dense_findings("x", looks[0], entries[:, 0], looks[1]) == []


@given(OPERATIONS, st.integers(1, 14))
def test_what_it_never_was_is_a_finding(operations: list[tuple[str, int]], ordinal: int) -> None:
    now, held = histories(operations)[-1]
    wrong = {**held}
    if ordinal in wrong:
        del wrong[ordinal]
    elif ordinal <= now.last_ordinal:
        wrong[ordinal] = 1
    entries = to_rows(sorted(wrong.items()))
    expected = wrong != held
    assert bool(lexical_findings(now, entries, now)) == expected
    look = (now, now.rows)
    assert bool(dense_findings("x", look, entries[:, 0], look)) == expected


def test_a_check_of_files_that_go_meanwhile_is_repeated() -> None:
    class Lexical:
        looks = iter([["a: missing", "b: missing"], ["b: missing", "c: missing"], ["c: missing"]])

        def check(self) -> list[str]:
            return next(self.looks)

    assert check_files(Lexical()) == []  # type: ignore[arg-type]
