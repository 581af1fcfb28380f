"""Several generations of vectors in one collection: built, kept up with writes, exchanged, dropped.

What a generation finds is compared with a scan in numpy over what its bi-encoder makes of the
documents as they are, and with a fresh collection indexed by that bi-encoder alone.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakeBiEncoder
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from recalling import (
    SCHEMA,
    WAIT_SECONDS,
    Encoder,
    a_collection,
    a_document,
    assert_same,
    scanned,
    write,
)

from sidecar.config import Config, DenseIndexConfig
from sidecar.errors import InvalidFieldError, ModelError
from sidecar.recall.embedded import background_encoding as background
from sidecar.recall.embedded import generation
from sidecar.recall.embedded import generations as generations_module
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of
from sidecar.storage import statements, stored_generations
from sidecar.types import Equals, StageReason

CONFIG = Config()


@pytest.fixture
def collection(tmp_path: Path):
    collection = a_collection(tmp_path)
    yield collection
    collection.close()


@pytest.fixture
def new():
    encoder = Encoder()
    yield encoder
    encoder.gate.set()


def texts(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{n}" for n in rng.integers(0, 40, size=6)) for _ in range(count)]


def fill(collection: EmbeddedCollection, count: int = 120) -> list[str]:
    written = texts(count)
    write(collection, [a_document(n, text, year=n % 3) for n, text in enumerate(written)])
    return written


def found(
    collection: EmbeddedCollection, encoder: FakeBiEncoder, query: str, depth: int = 10, filter=None
):
    leg = collection.dense(encoder.encode_queries([query])[0], filter, depth, identity_of(encoder))
    assert leg.reason is StageReason.NONE, leg.detail
    return [(each.doc_id, each.score) for each in leg.recalled]


def ready(collection: EmbeddedCollection, encoder: FakeBiEncoder) -> None:
    assert collection.wait_generation(identity_of(encoder), WAIT_SECONDS)


def settled(collection: EmbeddedCollection, *encoders: FakeBiEncoder) -> None:
    """Waits until every generation has every document."""
    for encoder in encoders:
        assert collection.wait_up_to_date(identity_of(encoder), WAIT_SECONDS)


@pytest.mark.parametrize("kind", ["auto", "fp16", "flat", "hnsw"])
def test_what_it_finds_is_what_a_fresh_collection_finds(tmp_path: Path, kind: str, new: Encoder):
    old = a_collection(tmp_path, kind=kind)
    written = fill(old)
    old.add_generation(new)
    ready(old, new)
    config = Config(dense_index=DenseIndexConfig(kind=kind))
    fresh = EmbeddedCollection.create(tmp_path / "fresh", "fresh", SCHEMA, new, config)
    write(fresh, [a_document(n, text, year=n % 3) for n, text in enumerate(written)])
    for query in texts(20, seed=1):
        assert found(old, new, query) == found(fresh, new, query)
        same = found(fresh, new, query, filter=Equals("year", 1))
        assert found(old, new, query, filter=Equals("year", 1)) == same
        held = {f"d{n:04}": text for n, text in enumerate(written)}
        assert_same(found(old, new, query), scanned(held, new, query))
        assert_same(found(old, FakeBiEncoder(), query), scanned(held, FakeBiEncoder(), query))
    assert old.verify() == fresh.verify() == []
    old.close()
    fresh.close()


def test_until_it_is_complete_only_the_leading_one_serves(
    collection: EmbeddedCollection, new: Encoder
):
    fill(collection)
    new.gate.clear()
    collection.add_generation(new)
    leg = collection.dense(new.encode_queries(["w1"])[0], None, 5, identity_of(new))
    assert (leg.reason, leg.recalled) == (StageReason.INDEX_UNAVAILABLE, ())
    assert "120 documents have no vector of fake-words at revision fake-2 yet" in leg.detail
    assert collection.generation_progress(identity_of(new)) == (0, 120)
    assert not collection.wait_generation(identity_of(new), 0.01)
    assert len(found(collection, FakeBiEncoder(), "w1")) == 10
    written = collection.upsert([a_document(500, "w1 w1 w1")])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert found(collection, FakeBiEncoder(), "common w1 w1 w1", 1)[0][0] == "d0500"
    new.gate.set()
    ready(collection, new)
    assert collection.generation_progress(identity_of(new)) == (121, 121)
    assert found(collection, new, "common w1 w1 w1", 1)[0][0] == "d0500"
    assert sorted(new.encoded) == sorted(
        collection.passages([f"d{n:04}" for n in range(501)]).values()
    )


def test_searches_of_what_is_not_complete_do_not_count_its_vectors_each(
    collection: EmbeddedCollection, new: Encoder, monkeypatch
):
    """A count reads all numbers of vectors there are."""
    now, counts = [1000.0], []
    count = stored_generations.StoredGeneration.count

    def counted(stored: stored_generations.StoredGeneration) -> int:
        counts.append(stored)
        return count(stored)

    fill(collection)
    new.gate.clear()
    collection.add_generation(new)
    monkeypatch.setattr(stored_generations.StoredGeneration, "count", counted)
    monkeypatch.setattr(generation, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def detail() -> str:
        return collection.dense(new.encode_queries(["w"])[0], None, 5, identity_of(new)).detail

    assert len({detail() for _ in range(50)}) == 1
    assert len(counts) == 1
    collection.upsert([a_document(500)])
    now[0] += generation.COUNT_SECONDS
    assert "121 documents have no vector" in detail()
    assert len(counts) == 2


def test_a_generation_never_asked_for_says_whose_there_are(
    collection: EmbeddedCollection, new: Encoder
):
    leg = collection.dense(new.encode_queries(["x"])[0], None, 5, identity_of(new))
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    assert "fake-1" in leg.detail
    assert "fake-2" in leg.detail


def test_writes_meanwhile_leave_nothing_stale(collection: EmbeddedCollection, new: Encoder):
    fill(collection)
    new.gate.clear()
    collection.add_generation(new)
    collection.upsert([a_document(n, "changed under way") for n in range(0, 30)])
    collection.delete([f"d{n:04}" for n in range(30, 40)])
    new.gate.set()
    settled(collection, new)
    gone = {f"d{n:04}" for n in range(30, 40)}
    for encoder in (new, FakeBiEncoder()):
        best = [doc_id for doc_id, _ in found(collection, encoder, "common changed under way", 30)]
        assert sorted(best) == [f"d{n:04}" for n in range(30)]
        assert not gone & {doc_id for doc_id, _ in found(collection, encoder, "common", 200)}
    collection.upsert([a_document(n, "changed once more") for n in range(50, 60)])
    collection.delete(["d0000"])
    settled(collection, new)
    for encoder in (new, FakeBiEncoder()):
        best = [doc_id for doc_id, _ in found(collection, encoder, "common once more", 10)]
        assert sorted(best) == [f"d{n:04}" for n in range(50, 60)]
        assert "d0000" not in dict(found(collection, encoder, "common", 200))
    assert collection.verify() == []


def test_a_changed_document_is_not_found_by_its_old_vector(
    collection: EmbeddedCollection, new: Encoder
):
    """Not even while the new one is still to be made."""
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    new.gate.clear()
    best = found(collection, new, "common w1 w2", 1)[0][0]
    written = collection.upsert([a_document(int(best[1:]), "something else")])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert collection._derived.wait_indexed(WAIT_SECONDS)
    assert best not in dict(found(collection, new, "common w1 w2", 200))
    assert collection.generation_progress(identity_of(new)) == (119, 120)
    new.gate.set()
    settled(collection, new)
    assert best in dict(found(collection, new, "something else", 200))


def test_the_leading_one_is_exchanged(collection: EmbeddedCollection, new: Encoder):
    old = Encoder("fake-1", 64)
    written = fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    collection.lead_with(identity_of(new))
    about = collection.describe()
    assert (about.bi_encoder_revision, about.dimensions) == ("fake-2", 48)
    assert collection.stats().searchable_sequence == collection.stats().durable_sequence == 120
    new.encoded.clear()
    done = collection.upsert([a_document(200, "w1 w1")])
    assert new.encoded == ["common\nw1 w1"]
    assert collection.wait_searchable(done.sequence, WAIT_SECONDS)
    vector = new.encode_queries(["common w1 w1"])[0]
    assert collection.dense(vector, None, 1).recalled[0].doc_id == "d0200"
    assert len(collection.get(["d0007"], include_vectors=True)[0].vector or ()) == 48
    held = {f"d{n:04}": text for n, text in enumerate(written)} | {"d0200": "w1 w1"}
    settled(collection, old)
    for query in texts(5, seed=2):
        assert_same(found(collection, new, query), scanned(held, new, query))
        plain = FakeBiEncoder()
        assert_same(found(collection, plain, query), scanned(held, plain, query))
    with pytest.raises(InvalidFieldError, match="has 64 values"):
        collection.upsert([dataclasses.replace(a_document(1), vector=[1.0] * 64)])
    assert collection.verify() == []


def test_a_callers_vector_is_of_the_leading_one(collection: EmbeddedCollection, new: Encoder):
    own = [0.0] * 63 + [1.0]
    write(collection, [dataclasses.replace(a_document(1, "red fox"), vector=own), a_document(2)])
    collection.add_generation(new)
    ready(collection, new)
    collection.lead_with(identity_of(new))
    wanted = new.encode_queries(["common\nred fox"])[0]
    read = collection.get(["d0001"], include_vectors=True)[0].vector
    assert np.allclose(read, wanted, atol=1e-6)
    write(collection, [dataclasses.replace(a_document(2), vector=[0.0] * 47 + [3.0])])
    assert collection.get(["d0002"], include_vectors=True)[0].vector == [0.0] * 47 + [1.0]
    settled(collection, FakeBiEncoder())
    assert found(collection, FakeBiEncoder(), "common word2", 1)[0][0] == "d0002"


def test_what_is_searchable_stays_so_under_writers(collection: EmbeddedCollection, new: Encoder):
    """Sequence numbers that were searchable once, before, during and after the exchange."""
    fill(collection, 60)
    collection.add_generation(new)
    ready(collection, new)
    stop, seen, fallen = threading.Event(), [0], []

    def write_on() -> None:
        number = 1000
        while not stop.is_set():
            collection.upsert([a_document(number)])
            number += 1

    def watch() -> None:
        while not stop.is_set():
            now = collection.searchable_sequence
            if now < seen[0]:
                fallen.append((seen[0], now))
            seen[0] = max(seen[0], now)

    threads = [threading.Thread(target=each) for each in (write_on, watch)]
    for thread in threads:
        thread.start()
    for encoder in (new, FakeBiEncoder(), new):
        collection.lead_with(identity_of(encoder))
    stop.set()
    for thread in threads:
        thread.join()
    assert collection.wait_searchable(collection.stats().durable_sequence, WAIT_SECONDS)
    assert collection.verify() == []
    # A write that began under the other leading one is found by the new one a little later.
    assert all(before - now <= 1 for before, now in fallen), fallen


def test_dropped_it_is_gone_and_its_bi_encoder_is_left_alone(tmp_path: Path, new: Encoder):
    first = a_collection(tmp_path)
    fill(first)
    first.add_generation(new)
    ready(first, new)
    collection = reopened(first, FakeBiEncoder())
    collection.add_generation(new)
    ready(collection, new)
    collection.lead_with(identity_of(new))
    assert {path.name for path in collection.folder.glob("dense-*")} == {"dense-1", "dense-2"}
    collection.drop_generation(identity_of(FakeBiEncoder()))
    collection.drop_generation(identity_of(FakeBiEncoder()))
    assert [path.name for path in collection.folder.glob("dense-*")] == ["dense-2"]
    assert list(collection._store.generations) == [identity_of(new)]
    leg = collection.dense(
        FakeBiEncoder().encode_queries(["x"])[0], None, 5, identity_of(FakeBiEncoder())
    )
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    write(collection, [a_document(1, "later")])
    assert collection.verify() == []
    assert len(found(collection, new, "later")) == 10
    collection.close()


def test_a_drop_that_is_broken_off_can_be_gone_back_on(
    tmp_path: Path, new: Encoder, monkeypatch: pytest.MonkeyPatch
):
    first = a_collection(tmp_path)
    fill(first)
    first.add_generation(new)
    ready(first, new)
    collection = reopened(first, FakeBiEncoder())
    monkeypatch.setattr(stored_generations, "EMPTY_CHUNK_DOCUMENTS", 50)
    drop, calls = statements.drop_vectors, []

    def crash_at_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return drop(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(statements, "drop_vectors", crash_at_second)
        with pytest.raises(KeyboardInterrupt):
            collection.drop_generation(identity_of(new))
    assert collection.verify() == []
    again = reopened(collection, FakeBiEncoder())
    assert again.generation_progress(identity_of(new)) == (70, 120)
    assert (*again.verify(), *again.repairs) == ()
    again.add_generation(new)
    ready(again, new)
    assert (*again.verify(), *again.repairs) == ()
    again.close()


def test_one_just_built_is_saved_for_it_was_much(
    collection: EmbeddedCollection, new: Encoder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(generation, "SAVE_CHANGED_LEAST", 100)
    saved = threading.Event()
    save = generation.Generation.save

    def tell(each: generation.Generation) -> None:
        save(each)
        if each.identity == identity_of(new):
            saved.set()

    monkeypatch.setattr(generation.Generation, "save", tell)
    fill(collection)
    collection.add_generation(new)
    assert saved.wait(WAIT_SECONDS)
    assert (collection.folder / "dense-2" / "manifest.json").exists()


def test_dropping_waits_for_a_chunk_under_way(collection: EmbeddedCollection, new: Encoder):
    fill(collection)
    started = threading.Event()
    encode = new.encode_passages

    def tell(texts: Sequence[str]) -> np.ndarray:
        started.set()
        return encode(texts)

    new.encode_passages = tell  # type: ignore[method-assign]
    new.gate.clear()
    collection.add_generation(new)
    assert started.wait(WAIT_SECONDS)
    dropping = threading.Thread(target=collection.drop_generation, args=(identity_of(new),))
    dropping.start()
    dropping.join(0.05)
    assert dropping.is_alive()
    new.gate.set()
    dropping.join(WAIT_SECONDS)
    assert not dropping.is_alive()
    calls = len(new.batches)
    write(collection, [a_document(n, "again") for n in range(5)])
    assert len(new.batches) == calls
    assert identity_of(new) not in collection._store.generations
    collection.add_generation(new)
    settled(collection, new)
    assert collection.verify() == []


def test_a_failing_bi_encoder_harms_nobody_else(
    collection: EmbeddedCollection, new: Encoder, monkeypatch: pytest.MonkeyPatch, caplog
):
    monkeypatch.setattr(background, "MAX_RETRY_SECONDS", 0.01)
    fill(collection)
    new.failing = "made to fail"
    third = Encoder("fake-3", 32)
    collection.add_generation(new)
    collection.add_generation(third)
    ready(collection, third)
    write(collection, [a_document(300, "w1")])
    assert not collection.wait_generation(identity_of(new), 0.02)
    assert collection.generation_failure(identity_of(new)) == "made to fail"
    assert collection.generation_failure(identity_of(third)) == ""
    leg = collection.dense(new.encode_queries(["w1"])[0], None, 5, identity_of(new))
    assert "made to fail" in leg.detail
    new.failing = ""
    ready(collection, new)
    assert collection.generation_failure(identity_of(new)) == ""
    assert len(found(collection, new, "w1")) == 10


def test_closed_under_way_it_goes_on_where_it_was(tmp_path: Path, new: Encoder):
    collection = a_collection(tmp_path)
    fill(collection)
    failed = threading.Event()
    encode = new.encode_passages

    def stop_after_one(texts: Sequence[str]) -> np.ndarray:
        if new.batches:
            failed.set()
            raise ModelError("enough")
        return encode(texts)

    new.encode_passages = stop_after_one  # type: ignore[method-assign]
    collection.add_generation(new)
    assert failed.wait(WAIT_SECONDS)
    collection.close()
    done = len(new.encoded)
    assert 0 < done < 120
    new.encode_passages = encode  # type: ignore[method-assign]
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert again.describe().bi_encoder_revision == "fake-1"
    assert again.generation_progress(identity_of(new)) == (done, 120)
    again.add_generation(new)
    ready(again, new)
    assert len(new.encoded) == 120
    assert again.verify() == []
    again.close()


def reopened(
    collection: EmbeddedCollection, bi_encoder: FakeBiEncoder | None
) -> EmbeddedCollection:
    collection.close()
    return EmbeddedCollection.open(collection.folder, bi_encoder, CONFIG)


def test_opened_with_the_other_it_leads(tmp_path: Path, new: Encoder):
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    again = reopened(collection, new)
    assert again.describe().bi_encoder_revision == "fake-2"
    assert len(found(again, new, "w1")) == 10
    write(again, [a_document(7, "by the new one"), a_document(900, "w1")])
    assert again.verify() == []
    back = reopened(again, FakeBiEncoder())
    assert back.describe().bi_encoder_revision == "fake-1"
    assert back.wait_searchable(back.stats().durable_sequence, WAIT_SECONDS)
    assert found(back, FakeBiEncoder(), "common by the new one", 1)[0][0] == "d0007"
    assert back.verify() == []
    assert back.repairs == ()
    back.close()


def test_opened_with_one_under_way_it_leads_once_complete(tmp_path: Path, new: Encoder):
    collection = a_collection(tmp_path)
    fill(collection)
    new.failing = "not now"
    collection.add_generation(new)
    collection.close()
    new.failing = ""
    new.gate.clear()
    again = EmbeddedCollection.open(collection.folder, new, CONFIG)
    leg = again.dense(new.encode_queries(["w1"])[0], None, 5)
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    assert again.stats().searchable_sequence == 0
    new.gate.set()
    assert again.wait_searchable(120, WAIT_SECONDS)
    assert len(found(again, new, "w1")) == 10
    again.close()


def test_away_for_long_it_is_built_anew_and_nothing_is_wrong(tmp_path: Path, new: Encoder):
    """Deletions that it missed are not remembered for it."""
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    again = reopened(collection, FakeBiEncoder())
    again.delete([f"d{n:04}" for n in range(50)])
    write(again, [a_document(60, "newer")])
    third = reopened(again, FakeBiEncoder())
    assert third._store.pruned_sequence() > 120
    third.add_generation(new)
    settled(third, new)
    assert third.repairs == ()
    assert third.verify() == []
    assert found(third, new, "common newer", 1)[0][0] == "d0060"
    assert len(found(third, new, "common", 200)) == 70
    third.close()


def test_deletions_are_not_forgotten_while_it_is_opened(
    tmp_path: Path, new: Encoder, monkeypatch: pytest.MonkeyPatch
):
    """All the others have them, and its own index, older than they are, is in memory already."""
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    settled(collection, new)
    again = reopened(collection, FakeBiEncoder())
    deleted = again.delete([f"d{n:04}" for n in range(50)])
    assert again.wait_searchable(deleted.sequence, WAIT_SECONDS)
    derived = again._derived
    leading, opened = derived.generations.leading, generations_module.Generation

    def prune_meanwhile(*arguments):
        added = opened(*arguments)
        leading.save()
        derived._prune()  # as the index thread does after a snapshot
        return added

    monkeypatch.setattr(generations_module, "Generation", prune_meanwhile)
    again.add_generation(new)
    settled(again, new)
    assert derived.wait_indexed(WAIT_SECONDS)
    assert derived.generations.get(identity_of(new)).dense.count == 70
    assert len(found(again, new, "common", 200)) == 70
    assert again.verify() == []
    again.close()


def test_without_a_bi_encoder_for_a_while(tmp_path: Path, new: Encoder):
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    bare = reopened(collection, None)
    bare.upsert([a_document(1, "changed while none was there"), a_document(700)])
    bare.delete(["d0002"])
    again = reopened(bare, FakeBiEncoder())
    again.add_generation(new)
    settled(again, FakeBiEncoder(), new)
    for encoder in (FakeBiEncoder(), new):
        assert found(again, encoder, "common changed while none was there", 1)[0][0] == "d0001"
        assert "d0002" not in dict(found(again, encoder, "common", 200))
    assert again.verify() == []
    again.close()


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_vector(folder: Path) -> None:
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        connection.execute("DELETE FROM vectors_2 WHERE ordinal = 3")
        connection.execute("INSERT INTO vectors_2 VALUES (3, zeroblob(192), NULL)")
    connection.close()


def lose_vector(folder: Path) -> None:
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        connection.execute("DELETE FROM vectors_2 WHERE ordinal = 3")
    connection.close()


def stray_vector(folder: Path) -> None:
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        connection.execute("INSERT INTO vectors_2 VALUES (9999, zeroblob(192), NULL)")
    connection.close()


def damage_snapshot(folder: Path) -> None:
    flip_byte(max((folder / "dense-2").glob("rows-*")))


@pytest.mark.parametrize("at_hand", [True, False])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change_vector, "has other vectors of documents with ordinal 3"),
        (lose_vector, "documents whose vector is lost"),
        (stray_vector, "vectors without a document"),
        (damage_snapshot, "could not be used and is built anew"),
    ],
)
def test_verify_looks_at_every_generation(
    tmp_path: Path, new: Encoder, damage: Callable[[Path], None], says: str, at_hand: bool
):
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    collection.close()
    damage(collection.folder)
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    if at_hand:
        again.add_generation(new)
        ready(again, new)
    findings = [*again.verify(), *again.repairs]
    assert any(says in finding for finding in findings), findings
    again.close()


def test_leftovers_of_a_dropped_one_are_removed(tmp_path: Path):
    collection = a_collection(tmp_path)
    fill(collection, 5)
    collection.close()
    (collection.folder / "dense-7").mkdir()
    (collection.folder / "dense-7" / "exact-1-0").write_text("x")
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert not (collection.folder / "dense-7").exists()
    assert again.verify() == []
    again.close()


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
