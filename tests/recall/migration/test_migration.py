"""A collection moves while it serves: nothing is missing, nothing twice, what was deleted stays so,
wherever it was broken off."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from elsewhere import BACKEND, READS, Elsewhere, Killed, Place, counting, place
from fakes import BI_ENCODER_CONTRACT, FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS, a_document

from sidecar.errors import (
    BackendUnavailableError,
    CallerLeftError,
    MigrationError,
    StorageError,
    TooLargeError,
)
from sidecar.recall import remote
from sidecar.recall.catalog import Catalog
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of
from sidecar.recall.migration import migration, moves, pace
from sidecar.recall.migration.ledger import Ledger
from sidecar.recall.migration.migration import Terms
from sidecar.recall.remote import RECORD, is_remote
from sidecar.storage import files
from sidecar.storage.files import remove_tree
from sidecar.types import Document

__all__ = ["place"]
NAME = "things"
OTHER = dataclasses.replace(BI_ENCODER_CONTRACT, name="other")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "IDLE_DOCUMENTS", 7)
    monkeypatch.setattr(pace, "BUSY_DOCUMENTS", 7)


class World:
    """A data folder, what was acknowledged in it, and the catalog that is open."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.place = place
        self._folder = folder
        self.held: dict[str, Document] = {}
        self.catalog = Catalog.open(folder, FakeBiEncoder(), place.config)
        self.catalog.create(NAME, SCHEMA)

    @property
    def collection(self):
        return self.catalog.get(NAME)

    def upsert(self, *documents: Document) -> None:
        self.collection.upsert(documents)
        self.held |= {document.doc_id: document for document in documents}

    def delete(self, *doc_ids: str) -> None:
        self.collection.delete(doc_ids)
        for doc_id in doc_ids:
            self.held.pop(doc_id, None)

    def reopen(self) -> None:
        self.catalog.close()
        self.catalog = Catalog.open(self._folder, FakeBiEncoder(), self.place.config)

    def migrate(self):
        with self.catalog.moving(NAME) as moving:
            return moves.move(moving, BACKEND, Terms())

    def back(self, discard_writes: bool = False):
        with self.catalog.moving(NAME) as moving:
            return moves.move_back(moving, discard_writes)

    def finish(self):
        with self.catalog.moving(NAME) as moving:
            return moves.finish(moving)

    @property
    def folder(self) -> Path:
        return self._folder / "collections" / NAME

    def check(self) -> None:
        """All that is held is there and found by both legs, and nothing else."""
        collection = self.collection
        found = collection.get(sorted(self.held), include_vectors=True)
        assert {each.doc_id: dict(each.fields) for each in found} == {
            doc_id: dict(document.fields) for doc_id, document in self.held.items()
        }
        assert all(each.vector is not None for each in found)
        assert collection.wait_searchable(collection.durable_sequence, WAIT_SECONDS)
        assert collection.stats().document_count == len(self.held)
        vector = FakeBiEncoder().encode_queries(["common"])[0]
        for leg in (collection.lexical("common", None, 500), collection.dense(vector, None, 500)):
            ids = [recalled.doc_id for recalled in leg.recalled]
            assert sorted(ids) == sorted(self.held)


@pytest.fixture
def world(tmp_path: Path, place: Place) -> Iterator[World]:
    world = World(tmp_path / "data", place)
    world.upsert(*(a_document(n, f"word{n} of{n % 7}", year=n % 3) for n in range(40)))
    world.delete("d0003", "d0004")
    yield world
    world.catalog.close()


def test_moved_reopened_finished(world: World):
    before = world.collection.describe()
    migrated = world.migrate()
    assert migrated.document_count == migrated.comparison.documents == len(world.held)
    assert migrated.comparison.lexical_overlap == migrated.comparison.dense_overlap == 1.0
    assert 0.0 < migrated.held_seconds < migration.HOLD_SECONDS
    assert isinstance(world.collection, Elsewhere)
    after = world.collection.describe()
    assert after.incarnation == migrated.incarnation != before.incarnation
    assert after.backend == migrated.backend
    world.check()
    world.upsert(a_document(90))
    world.reopen()
    world.upsert(a_document(91))
    world.delete("d0005")
    world.check()
    assert (world.folder / "documents.sqlite").exists()
    world.finish()
    assert [path.name for path in world.folder.iterdir()] == ["backend.json"]
    world.reopen()
    world.check()
    with pytest.raises(MigrationError):
        world.back()


def test_what_is_finished_after_a_restart_says_how_many_documents_there_are(
    world: World, monkeypatch
):
    """A backend that keeps its documents elsewhere has counted none by then."""
    world.migrate()
    world.reopen()
    counted: list[int] = []
    stats, describe = Elsewhere.stats, Elsewhere.describe

    def counting_stats(there: Elsewhere):
        counted.append(stats(there).document_count)
        return stats(there)

    def of_last_count(there: Elsewhere):
        return dataclasses.replace(describe(there), document_count=counted[-1] if counted else 0)

    monkeypatch.setattr(Elsewhere, "stats", counting_stats)
    monkeypatch.setattr(Elsewhere, "describe", of_last_count)
    assert world.finish().document_count == len(world.held)


def test_it_has_moved_though_what_it_left_cannot_be_put_aside(world: World, monkeypatch, caplog):
    put_aside = EmbeddedCollection.put_aside

    def failing(source: EmbeddedCollection) -> None:
        put_aside(source)
        raise StorageError("the disk is full")

    monkeypatch.setattr(EmbeddedCollection, "put_aside", failing)
    assert world.migrate().document_count == len(world.held)
    assert "the disk is full" in caplog.text
    world.check()


def test_not_while_another_bi_encoder_is_brought_in(world: World, monkeypatch):
    """What cannot have its vectors would stop every change of the model."""
    other = FakeBiEncoder(OTHER)
    world.catalog.add_generation(other)
    monkeypatch.setattr(Elsewhere, "generation_refusal", lambda there, identity: "has others only")
    with pytest.raises(MigrationError, match="has others only"):
        world.migrate()
    assert not isinstance(world.collection, Elsewhere)
    world.catalog.drop_generation(identity_of(other))
    world.migrate()
    assert isinstance(world.collection, Elsewhere)
    world.check()


def test_nor_if_it_comes_just_before_the_switch(world: World, monkeypatch):
    other, compare = FakeBiEncoder(OTHER), migration.Comparer.compare

    def and_add(comparer):
        found = compare(comparer)
        world.catalog.add_generation(other)
        return found

    monkeypatch.setattr(Elsewhere, "generation_refusal", lambda there, identity: "has others only")
    monkeypatch.setattr(migration.Comparer, "compare", and_add)
    with pytest.raises(MigrationError, match="has others only"):
        world.migrate()
    assert not is_remote(world.folder)
    world.check()


def test_a_document_that_the_backend_does_not_accept_is_named(world: World, monkeypatch):
    upsert = Elsewhere.upsert

    def narrow(there: Elsewhere, documents, **more):
        for position, document in enumerate(documents):
            if document.doc_id == "d0010":
                raise TooLargeError(f"documents[{position}].fields", "65,535 bytes are the most")
        return upsert(there, documents, **more)

    monkeypatch.setattr(Elsewhere, "upsert", narrow)
    with pytest.raises(MigrationError, match=r"document 'd0010' .* fields: 65,535 bytes"):
        world.migrate()
    world.delete("d0010")
    world.migrate()
    world.check()


def test_a_search_under_way_ends_on_what_it_opened(world: World):
    before = world.collection
    last = world.collection.upsert([a_document(8, "last")]).sequence
    world.held["d0008"] = a_document(8, "last")
    world.migrate()
    assert before is not world.collection
    assert before.wait_searchable(last, 0.0), "nobody who waits for it is sent away"
    assert len(before.lexical("common", None, 500).recalled) == len(world.held)
    assert len(before.passages(sorted(world.held))) == len(world.held)
    before.upsert([a_document(95)])
    world.held["d0095"] = a_document(95)
    world.check()


def changes() -> Iterator[list]:
    """What happens between two tries: writes, deletions, ids that come back."""
    for turn in itertools.count():
        first = (turn * 5) % 40
        yield [
            ("upsert", [a_document(n, f"turn{turn} of{n % 7}") for n in range(first, first + 3)]),
            ("delete", [f"d{n:04}" for n in range(first + 2, first + 6)]),
            ("upsert", [a_document(first + 4, f"back{turn}"), a_document(100 + turn)]),
            ("delete", [f"d{99 + turn:04}"]),
        ]


def test_broken_off_between_every_two_steps(world: World):
    """Each try comes one step further; between tries writes come and the server starts anew."""
    made: set[str] = set()
    for number, change in zip(itertools.count(1), changes(), strict=False):
        world.place.fail, steps = counting(number)
        try:
            world.migrate()
            break
        except Killed:
            world.place.fail = lambda step: None
        finally:
            made |= set(steps)
        world.reopen()
        for name, of in change:
            getattr(world, name)(*of)
        if is_remote(world.folder):
            break
        assert isinstance(world.collection, EmbeddedCollection)
        assert number < 150, steps
    world.place.fail = lambda step: None
    assert isinstance(world.collection, Elsewhere)
    world.check()
    assert {"prepare", "before announce", "upserted", "deleted", "before write_or_withdraw"} <= made


@pytest.mark.parametrize(
    "step", ["before write_or_withdraw", "after write_or_withdraw", "after enter"]
)
def test_killed_around_the_switch(world: World, step: str):
    def fail(now: str) -> None:
        if now == step:
            raise Killed(now)

    world.place.fail = fail
    with pytest.raises(Killed):
        world.migrate()
    world.place.fail = lambda step: None
    world.reopen()
    world.upsert(a_document(70))
    assert is_remote(world.folder) == (step == "after write_or_withdraw")
    world.check()
    if step != "after write_or_withdraw":
        world.migrate()
    assert isinstance(world.collection, Elsewhere)
    world.check()


def test_deletions_that_nobody_remembers(world: World):
    """The follower was away, and what was deleted meanwhile was forgotten."""
    world.place.fail, _ = counting(20)
    with pytest.raises(Killed):
        world.migrate()
    world.place.fail = lambda step: None
    world.delete("d0000", "d0001", "d0002")
    world.upsert(a_document(1, "back"))
    assert world.collection.wait_searchable(world.collection.durable_sequence, WAIT_SECONDS)
    world.collection._store.prune(world.collection.durable_sequence)
    world.migrate()
    world.check()


def test_under_writes_none_fails_and_none_is_lost(world: World):
    failures: list[Exception] = []
    done = threading.Event()

    def write(number: int) -> None:
        for turn in itertools.count():
            if done.is_set():
                return
            try:
                doc_id = 1000 + 10 * number + turn % 5
                world.upsert(a_document(doc_id, f"turn{turn}"), a_document(number, f"own{turn}"))
                if turn % 3 == 0:
                    world.delete(f"d{doc_id:04}")
            except Exception as error:
                failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        world.migrate()
        moved = len(world.held)
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert not failures
    assert moved
    world.check()


@pytest.mark.parametrize("kind", ["text", "missing", "more", "vector", "attribute"])
def test_a_planted_difference_stops_the_switch(world: World, kind: str, monkeypatch):
    planted = a_document(7, f"word7 of0{'!' if kind == 'text' else ''}", year=1)
    wrong = {
        "text": lambda there: there.upsert([planted]),
        "attribute": lambda there: there.upsert([a_document(7, "word7 of0", year=2)]),
        "missing": lambda there: there.delete(["d0007"]),
        "more": lambda there: there.upsert([a_document(77)]),
        "vector": lambda there: there.upsert(
            [Document("d0000", {"title": "common", "text": "word0 of0"}, {"year": 0}, [1.0] * 64)]
        ),
    }[kind]
    compare = migration.Comparer.compare

    def after_planting(comparer):
        wrong(comparer._target)
        return compare(comparer)

    monkeypatch.setattr(migration.Comparer, "compare", after_planting)
    with pytest.raises(MigrationError) as caught:
        world.migrate()
    told = {"more": "38 documents, and 39 in the copy", "vector": "d0000"}.get(kind, "d0007")
    assert told in caught.value.message
    assert isinstance(world.collection, EmbeddedCollection)
    assert not isinstance(world.collection, Elsewhere)
    world.check()


def test_legs_that_answer_otherwise_stop_the_switch(world: World, monkeypatch):
    def cut(self, query, filter, depth, **more):
        return EmbeddedCollection.lexical(self, query, filter, min(depth, 3), **more)

    monkeypatch.setattr(Elsewhere, "lexical", cut)
    with pytest.raises(MigrationError) as caught:
        world.migrate()
    assert "lexical leg" in caught.value.message
    world.check()


def test_writes_go_on_when_the_rest_cannot_be_copied_in_time(world: World, monkeypatch):
    """The backend is silent just while writes are held; they wait no longer than that."""
    monkeypatch.setattr(migration, "HOLD_SECONDS", 0.2)
    silent, attempts = threading.Event(), 0
    drain = migration.Migration._drain

    def slow(self, comparison):
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            assert silent.wait(WAIT_SECONDS)
        return drain(self, comparison)

    monkeypatch.setattr(migration.Migration, "_drain", slow)
    moving = threading.Thread(target=world.migrate)
    moving.start()
    while attempts == 0:
        assert moving.is_alive()
        world.upsert(a_document(50))
    world.upsert(a_document(51))  # returns although the backend does not
    silent.set()
    moving.join()
    assert attempts > 1
    assert isinstance(world.collection, Elsewhere)
    world.check()


def test_a_backend_that_is_away_for_long_ends_it_and_it_goes_on(world: World, monkeypatch):
    monkeypatch.setattr("sidecar.recall.migration.follower.PATIENCE_SECONDS", 0.0)

    def fail(step: str) -> None:
        if step == "upsert":
            raise BackendUnavailableError("gone")

    world.place.fail = fail
    with pytest.raises(BackendUnavailableError):
        world.migrate()
    world.place.fail = lambda step: None
    world.check()
    world.migrate()
    world.check()


def test_a_backend_that_is_away_for_a_moment_is_waited_for(world: World):
    """Whatever it is asked for just then."""
    failed: set[str] = set()

    def fail(step: str) -> None:
        if step in ("upsert", *READS) and step not in failed:
            failed.add(step)
            raise BackendUnavailableError("gone", retry_seconds=0.0)

    world.place.fail = fail
    world.migrate()
    assert failed == {"upsert", *READS}
    world.check()


def test_what_was_sent_is_looked_at_once_for_deletions_that_nobody_remembers(
    world: World, monkeypatch
):
    """Not with every chunk: it would be the square of what there is."""
    world.upsert(*(a_document(n) for n in range(200, 260)))
    world.delete("d0200")
    last = world.collection.durable_sequence
    assert world.collection.wait_searchable(last, WAIT_SECONDS)
    world.collection._store.prune(last)
    looks, sent = 0, Ledger.sent

    def counted(ledger: Ledger):
        nonlocal looks
        looks += 1
        return sent(ledger)

    monkeypatch.setattr(Ledger, "sent", counted)
    world.migrate()
    assert looks == 1
    world.check()


def test_the_way_back_says_what_it_loses(world: World):
    first = world.collection.describe().incarnation
    world.migrate()
    world.back()
    assert not is_remote(world.folder)
    assert world.collection.describe().incarnation == first
    world.check()
    with pytest.raises(MigrationError):
        world.back()


def test_the_way_back_after_writes(world: World):
    world.migrate()
    before = dict(world.held)
    world.upsert(a_document(6, "rewritten"), a_document(80))
    world.delete("d0010")
    with pytest.raises(MigrationError) as caught:
        world.back()
    assert "d0006" in caught.value.message
    assert "d0010" in caught.value.message
    assert isinstance(world.collection, Elsewhere)
    world.check()
    world.back(discard_writes=True)
    world.held = before
    world.check()
    world.reopen()
    world.check()


@pytest.mark.parametrize("step", ["after enter", "after remove_record"])
def test_killed_on_the_way_back(world: World, step: str):
    """The index stays, and what was begun is ended, or another move begun."""
    world.migrate()
    index = next(world.place.folder.iterdir())

    def fail(now: str) -> None:
        if now == step:
            raise Killed(now)

    world.place.fail = fail
    with pytest.raises(Killed):
        world.back()
    world.place.fail = lambda step: None
    world.reopen()
    assert is_remote(world.folder) == (step == "after enter")
    world.back()
    assert isinstance(world.collection, EmbeddedCollection)
    assert not isinstance(world.collection, Elsewhere)
    assert index.exists()
    world.check()
    with pytest.raises(MigrationError):
        world.back()


def test_a_move_after_a_way_back_that_broke_off(world: World):
    world.migrate()

    def fail(now: str) -> None:
        if now == "after remove_record":
            raise Killed(now)

    world.place.fail = fail
    with pytest.raises(Killed):
        world.back()
    world.place.fail = lambda step: None
    world.reopen()
    remove_tree(next(world.place.folder.iterdir()))  # as the operator does with an index
    world.migrate()
    assert isinstance(world.collection, Elsewhere)
    world.check()


@pytest.mark.parametrize("discard_writes", [False, True])
def test_writes_on_the_way_back(world: World, monkeypatch, discard_writes: bool):
    """One that comes while both are compared, one that waits for the exchange."""
    world.migrate()
    there, before = world.collection, dict(world.held)
    compare = moves._since_the_switch

    def and_write(*arguments):
        found = compare(*arguments)
        world.upsert(a_document(81, "between"))
        return found

    monkeypatch.setattr(moves, "_since_the_switch", and_write)
    if discard_writes:
        world.back(discard_writes=True)
        world.held = before
    else:
        with pytest.raises(MigrationError, match="while both were compared"):
            world.back()
    assert isinstance(world.collection, Elsewhere) == (not discard_writes)
    there.upsert([a_document(82, "later")])
    world.held["d0082"] = a_document(82, "later")
    world.check()


def test_writes_wait_for_the_exchange(world: World, monkeypatch):
    world.migrate()
    there, begun = world.collection, threading.Event()
    remove = moves.remove_record

    def write() -> None:
        begun.set()
        there.upsert([a_document(83, "waits")])

    writer = threading.Thread(target=write)

    def removing(folder: Path) -> None:
        writer.start()
        assert begun.wait(WAIT_SECONDS)
        remove(folder)

    monkeypatch.setattr(moves, "remove_record", removing)
    world.back()
    writer.join(WAIT_SECONDS)
    assert not writer.is_alive()
    world.held["d0083"] = a_document(83, "waits")
    world.check()


def test_the_way_back_finds_vectors_that_were_written(world: World):
    world.migrate()
    vector = [1.0] + [0.0] * 63
    for kept in (world.held[doc_id] for doc_id in sorted(world.held)[:12]):
        world.upsert(Document(kept.doc_id, kept.fields, kept.attributes, vector))
    with pytest.raises(MigrationError) as caught:
        world.back()
    assert all(doc_id in caught.value.message for doc_id in sorted(world.held)[:10])
    world.check()


@pytest.mark.parametrize("is_undone", [True, False])
def test_the_disk_does_not_make_sure_of_the_switch(world: World, monkeypatch, is_undone: bool):
    """What serves is what a restart finds."""
    with monkeypatch.context() as disk:
        refuse_syncs(disk, lambda names: RECORD in names)
        if is_undone:
            with pytest.raises(StorageError):
                world.migrate()
        else:
            refuse(disk, "unlink")
            world.migrate()
    assert is_remote(world.folder) == isinstance(world.collection, Elsewhere) == (not is_undone)
    world.upsert(a_document(70))
    world.reopen()
    world.check()


@pytest.mark.parametrize("is_undone", [True, False])
def test_the_disk_does_not_make_sure_of_the_way_back(world: World, monkeypatch, is_undone: bool):
    world.migrate()
    with monkeypatch.context() as disk:
        refuse_syncs(disk, lambda names: RECORD not in names)
        if is_undone:
            with pytest.raises(StorageError):
                world.back()
        else:
            refuse(disk, "rename")
            world.back()
    assert is_remote(world.folder) == isinstance(world.collection, Elsewhere) == is_undone
    world.upsert(a_document(70))
    world.reopen()
    world.check()


def refuse_syncs(disk: pytest.MonkeyPatch, when: Callable[[set[str]], bool]) -> None:
    """Of the collection's folder, while it has names, by what puts the record there."""
    sync = files.sync_folder

    def broken(folder: Path) -> None:
        if folder.parts[-2:] == ("collections", NAME) and when(
            {each.name for each in folder.iterdir()}
        ):
            raise OSError(errno.EIO, "Input/output error")
        sync(folder)

    for module in (files, remote):
        disk.setattr(module, "sync_folder", broken)


def refuse(disk: pytest.MonkeyPatch, change: str) -> None:
    """To rename or unlink the record, or what it was renamed to."""
    make = getattr(Path, change)

    def broken(path: Path, *arguments, **more):
        if path.name.startswith(RECORD) and not path.name.endswith(".new"):
            raise OSError(errno.EIO, "Input/output error")
        return make(path, *arguments, **more)

    disk.setattr(Path, change, broken)


def test_a_migration_is_given_up(world: World):
    world.place.fail, _ = counting(8)
    with pytest.raises(Killed):
        world.migrate()
    world.place.fail = lambda step: None
    with pytest.raises(MigrationError):
        world.catalog.drop(NAME)
    with pytest.raises(MigrationError):
        world.finish()
    world.back()
    world.check()
    world.migrate()
    world.check()
    world.catalog.drop(NAME)
    assert not world.folder.exists()


def test_one_at_a_time(world: World):
    with world.catalog.moving(NAME), pytest.raises(MigrationError):
        world.migrate()
    world.migrate()
    with pytest.raises(MigrationError):
        world.migrate()


def test_it_ends_when_nobody_wants_it_any_more(world: World):
    """At any of the times that it is asked, and it goes on afterwards."""
    most = 1
    while not is_remote(world.folder):
        told: list[str] = []
        most += 4

        def leave(step: str, done: int, total: int, most: int = most, told=told) -> None:
            told.append(step)
            assert 0 <= done <= total
            if len(told) == most:
                raise CallerLeftError("left")

        with world.catalog.moving(NAME) as moving, contextlib.suppress(CallerLeftError):
            moves.move(moving, BACKEND, Terms(), leave)
        world.check()
    assert most > 5
