"""Several writes in one transaction, commits that fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from recalling import a_document
from storing import HEADER, MODEL, UNIT, write

from sidecar.errors import RequestIdReusedError, StorageError
from sidecar.storage import database as database_module
from sidecar.storage import statements, write_ids
from sidecar.storage.documents import DocumentStore
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.storage.tables import WRITE_TABLES
from sidecar.storage.write_ids import RequestId
from sidecar.storage.writes import Deletion, Done, Terms, Upsert, Write, WriteTransaction
from sidecar.types import Document, VersionConflict

OTHER = BiEncoderIdentity("m", "r2", 4)
NO_TERMS = Terms()


def an_upsert(*documents: Document, terms: Terms = NO_TERMS, with_vectors: bool = True) -> Upsert:
    return Upsert(documents, [UNIT if with_vectors else None] * len(documents), MODEL, terms)


def by_id(text: str, digest: bytes = b"1") -> Terms:
    return Terms(RequestId(text, digest))


@contextmanager
def counted_commits(store: DocumentStore) -> Iterator[list[str]]:
    """COMMITs that had something to write; each is one fsync of the log."""
    commits: list[str] = []
    before = [store._database._writer.total_changes]

    def trace(statement: str) -> None:
        if statement == "COMMIT" and store._database._writer.total_changes != before[0]:
            before[0] = store._database._writer.total_changes
            commits.append(statement)

    store._database._writer.set_trace_callback(trace)
    yield commits
    store._database._writer.set_trace_callback(None)


def texts(store: DocumentStore, *doc_ids: str) -> dict[str, str]:
    return {doc_id: fields["text"] for doc_id, fields in store.fields(doc_ids).items()}


# Together


def test_writes_together_are_one_transaction_and_numbered_one_after_the_other(
    store: DocumentStore,
) -> None:
    with counted_commits(store) as commits:
        outcomes = store.write_all(
            [
                an_upsert(a_document(1), a_document(2)),
                Deletion(["d0001", "nope"]),
                an_upsert(a_document(1, "again")),
                Deletion(["nope"]),
            ]
        )
    assert commits == ["COMMIT"]
    assert outcomes == [
        Done(2, 2, added=2),
        Done(3, 1, added=-1, ordinals=[1]),
        Done(4, 1, added=1),
        Done(),
    ]
    assert (store.sequence, store.count) == (4, 2)
    assert texts(store, "d0001", "d0002") == {"d0001": "again", "d0002": "word2"}


def test_one_that_fails_leaves_the_others_as_they_are(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = statements.put_attributes

    def failing(connection: sqlite3.Connection, ordinal: int, attributes: object) -> None:
        if attributes == {"year": 13}:
            raise sqlite3.OperationalError("made to fail")
        put(connection, ordinal, attributes)  # type: ignore[arg-type]

    monkeypatch.setattr(statements, "put_attributes", failing)
    with counted_commits(store) as commits:
        first, bad, reused, last = store.write_all(
            [
                an_upsert(a_document(1), terms=by_id("a")),
                an_upsert(a_document(1, "bad"), a_document(2, year=13), terms=by_id("b")),
                an_upsert(a_document(1, "reused"), terms=by_id("a", b"2")),
                an_upsert(a_document(3)),
            ]
        )
    assert commits == ["COMMIT"]
    assert isinstance(bad, StorageError)
    assert "made to fail" in bad.message
    assert isinstance(reused, RequestIdReusedError)
    assert (first, last) == (Done(1, 1, 1), Done(2, 1, 1))
    assert texts(store, "d0001", "d0002", "d0003") == {"d0001": "word1", "d0003": "word3"}
    assert store.check_integrity() == []
    monkeypatch.undo()
    assert store.settle(by_id("b")) is None
    assert store.write_all([an_upsert(a_document(2), terms=by_id("b"))]) == [Done(3, 1, 1)]


def test_what_ends_the_transaction_of_one_is_not_told_of_those_that_are_durable(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = WriteTransaction.finish

    def failing(transaction: WriteTransaction, keep_ids_seconds: float) -> None:
        if texts_within(transaction._connection, "bad"):
            raise ValueError("made to fail")
        finish(transaction, keep_ids_seconds)

    def texts_within(connection: sqlite3.Connection, text: str) -> bool:
        found = connection.execute("SELECT 1 FROM documents WHERE instr(fields, ?)", (text,))
        return found.fetchone() is not None

    monkeypatch.setattr(WriteTransaction, "finish", failing)
    writes = [an_upsert(a_document(n, text)) for n, text in ((1, "one"), (2, "bad"), (3, "three"))]
    first, bad, last = store.write_all(writes)
    assert (first, last) == (Done(1, 1, 1), Done(2, 1, 1))
    assert isinstance(bad, ValueError)
    assert texts(store, "d0001", "d0002", "d0003") == {"d0001": "one", "d0003": "three"}


def test_a_generation_that_fails_after_the_commit_does_not_hold_up_the_clock(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("made to fail")

    monkeypatch.setattr(store.generations[MODEL], "written", fail)
    assert store.write([a_document(1)], [UNIT], MODEL) == 1
    assert "made to fail" in caplog.text
    monkeypatch.undo()
    assert store.write([a_document(2)], [UNIT], MODEL) == 2
    assert store.count == 2


def test_one_that_does_not_fit_on_the_disk_leaves_room_for_the_others(
    store: DocumentStore,
) -> None:
    store.write([a_document(1)], [UNIT], MODEL)
    (pages,) = store._database._writer.execute("PRAGMA page_count").fetchone()
    store._database._writer.execute(f"PRAGMA max_page_count = {pages + 5}")
    large = an_upsert(a_document(2, "x" * 1_000_000))
    small, refused, other = store.write_all([an_upsert(a_document(3)), large, Deletion(["d0001"])])
    assert isinstance(refused, StorageError)
    assert "disk is full" in refused.message
    assert (small, other) == (Done(2, 1, 1), Done(3, 1, -1, ordinals=[1]))
    assert (store.sequence, store.count) == (3, 1)


def test_a_write_without_vectors_among_others_is_not_taken_for_encoded(
    store: DocumentStore,
) -> None:
    store.write_all(
        [
            an_upsert(a_document(1)),
            an_upsert(a_document(2), with_vectors=False),
            an_upsert(a_document(3)),
        ]
    )
    generation = store.generations[MODEL]
    assert not generation.is_encoded
    assert generation.encoded_sequence == 1
    assert [fields["text"] for fields in generation.unencoded(9).fields] == ["word2"]


# Conditions and request ids


def test_conflicts_are_of_the_moment_of_the_write(store: DocumentStore) -> None:
    new = Terms(expected=[("d0001", 0)])
    first, second = store.write_all(
        [an_upsert(a_document(1), terms=new), an_upsert(a_document(1, "x"), terms=new)]
    )
    assert first == Done(1, 1, 1)
    assert second == Done(conflicts=(VersionConflict("d0001", 1),))
    assert store.settle(new) == second
    assert store.sequence == 1


def test_a_known_write_is_answered_as_it_was(store: DocumentStore) -> None:
    writes: list[Write] = [
        an_upsert(a_document(1), a_document(2), terms=by_id("u")),
        Deletion(["d0001"], by_id("d")),
        Deletion(["d0001"], by_id("n")),
    ]
    # Twice in one transaction, and once more in another.
    outcomes = [*store.write_all([*writes, *writes]), *store.write_all(writes)]
    repeated = [
        Done(2, 2, repeated=True),
        Done(3, 1, repeated=True),
        Done(0, 0, repeated=True),
    ]
    assert outcomes[3:] == [*repeated, *repeated]
    assert (store.sequence, store.count) == (3, 1)


def test_ids_are_forgotten_by_age_and_number(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr(write_ids.time, "time", lambda: now[0])
    monkeypatch.setattr(write_ids, "MOST_IDS", 4)

    def known() -> list[int]:
        return [n for n in range(20) if store.settle(by_id(f"r{n}")) is not None]

    for number in range(6):
        store.write_all([an_upsert(a_document(1), terms=by_id(f"r{number}"))], 60.0)
        now[0] += 10.0
    assert known() == [2, 3, 4, 5]
    now[0] += 45.0  # r2, r3 and r4 are more than a minute old now
    store.write_all([an_upsert(a_document(1))], 60.0)
    assert known() == [2, 3, 4, 5]
    store.write_all([an_upsert(a_document(1), terms=by_id("r9"))], 60.0)
    assert known() == [5, 9]


def test_forgetting_takes_no_longer_with_many_ids() -> None:
    """Counted in steps of SQLite's machine."""

    def steps(count: int) -> int:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(WRITE_TABLES)
            connection.executemany(
                "INSERT INTO write_ids VALUES (?, ?, x'00', 1, 1, 4000000000)",
                ((n, str(n)) for n in range(1, count + 1)),
            )
            tens: list[None] = []
            connection.set_progress_handler(lambda: tens.append(None), 10)
            write_ids.prune_writes(connection, 60.0)
            return len(tens)

    assert steps(50_000) <= 1.2 * steps(2_000)


# Commits that fail


class FailingConnection(sqlite3.Connection):
    """COMMIT fails as `failing` says: before it is done, or after it was; so does what follows."""

    failing = ""
    reopens = True

    def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:  # type: ignore[override]
        failing = type(self).failing
        if statement == "COMMIT" and failing:
            if failing == "after":
                super().execute("COMMIT")
            raise _input_output_error()
        if statement.startswith("PRAGMA wal_checkpoint(P") and not type(self).reopens:
            raise _input_output_error()
        return super().execute(statement, *parameters)


def _input_output_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    return error


@pytest.fixture
def breaking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DocumentStore]:
    """A store with one document, whose connections are FailingConnections."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    monkeypatch.setattr(
        database_module.sqlite3,
        "connect",
        lambda *a, **k: connect(*a, **k, factory=FailingConnection),
    )
    store = DocumentStore.create(tmp_path, HEADER, MODEL)
    store.write([a_document(1)], [UNIT], MODEL)
    yield store
    FailingConnection.failing, FailingConnection.reopens = "", True
    store.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_after_a_failed_commit_the_clock_is_read_anew(breaking: DocumentStore, when: str) -> None:
    """Whether or not the commit took place, the answer is an error, and numbers go on rightly."""
    FailingConnection.failing = when
    writes = [an_upsert(a_document(2), a_document(3), terms=by_id("r")), Deletion(["d0001"])]
    outcomes = breaking.write_all(writes)
    assert all("input/output error" in str(outcome) for outcome in outcomes)
    assert (breaking.sequence, breaking.count) == (1, 1)
    FailingConnection.failing = ""
    took_place = when == "after"
    again = breaking.write_all([writes[0]])[0]
    assert isinstance(again, Done)
    assert again.repeated == took_place
    assert breaking.sequence == (4 if took_place else 3)
    assert breaking.count == (2 if took_place else 3)
    assert breaking.write([a_document(4)], [UNIT], MODEL) == breaking.sequence
    stored = {"d0002", "d0003", "d0004"} | (set() if took_place else {"d0001"})
    assert set(texts(breaking, "d0001", "d0002", "d0003", "d0004")) == stored
    assert breaking.generations[MODEL].is_encoded
    assert breaking.check_integrity() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_remembered_id_outlives_a_failed_commit(breaking: DocumentStore, when: str) -> None:
    assert breaking.remembered_doc_ids([1]) == {1: "d0001"}
    FailingConnection.failing = when
    (outcome,) = breaking.write_all([Deletion(["d0001"], by_id("r"))])
    assert isinstance(outcome, StorageError)
    assert breaking.remembered_doc_ids([1]) == breaking.doc_ids([1])
    FailingConnection.failing = ""
    write(breaking, a_document(2))  # opens the database anew
    assert breaking.remembered_doc_ids([1]) == breaking.doc_ids([1])
    assert isinstance(breaking.write_all([Deletion(["d0001"], by_id("r"))])[0], Done)
    assert breaking.remembered_doc_ids([1]) == {}


def test_writes_are_refused_until_the_database_can_be_opened_anew(breaking: DocumentStore) -> None:
    FailingConnection.failing, FailingConnection.reopens = "before", False
    with pytest.raises(StorageError):
        breaking.write([a_document(2)], [UNIT], MODEL)
    FailingConnection.failing = ""
    for _ in range(2):
        with pytest.raises(StorageError, match=r"no writes since a commit failed.*check the disk"):
            breaking.write([a_document(2)], [UNIT], MODEL)
        with pytest.raises(StorageError, match="no writes since a commit failed"):
            breaking.add_generation(OTHER)
        assert texts(breaking, "d0001") == {"d0001": "word1"}
    FailingConnection.reopens = True
    assert breaking.write([a_document(2)], [UNIT], MODEL) == 2


def test_writes_are_refused_until_the_whole_log_is_in_the_database(breaking: DocumentStore) -> None:
    with breaking._database.reading() as earlier:
        earlier.execute("SELECT count(*) FROM documents").fetchone()
        breaking.write([a_document(2)], [UNIT], MODEL)
        FailingConnection.failing = "before"
        with pytest.raises(StorageError):
            breaking.write([a_document(3)], [UNIT], MODEL)
        FailingConnection.failing = ""
        for _ in range(2):
            with pytest.raises(StorageError, match="still reads an earlier state"):
                breaking.write([a_document(3)], [UNIT], MODEL)
    assert breaking.write([a_document(3)], [UNIT], MODEL) == 3
    assert breaking.check_integrity() == []
