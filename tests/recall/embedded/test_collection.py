"""A collection: what is acknowledged is there, what is deleted is gone, and its way back up."""

from __future__ import annotations

import contextlib
import dataclasses
import pkgutil
import resource
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import BI_ENCODER_CONTRACT, FakeBiEncoder
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from recalling import SCHEMA, WAIT_SECONDS, Encoder, a_collection, a_document, write

import sidecar.recall.embedded.dense_building as dense_building
import sidecar.recall.embedded.derived as derived_module
from sidecar.config import Config, DenseIndexConfig
from sidecar.errors import (
    CollectionExistsError,
    InvalidFieldError,
    ModelError,
    StorageError,
    TooLargeError,
)
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.encoding import identity_of
from sidecar.types import Document, Equals, Schema, StageReason, TextField

CONFIG = Config()


@pytest.fixture
def collection(tmp_path: Path):
    collection = a_collection(tmp_path)
    yield collection
    collection.close()


def reopened(
    collection: EmbeddedCollection, bi_encoder=None, config: Config = CONFIG
) -> EmbeddedCollection:
    collection.close()
    return EmbeddedCollection.open(collection.folder, bi_encoder or FakeBiEncoder(), config)


def lexical_ids(collection: EmbeddedCollection, query: str, depth: int = 100) -> list[str]:
    return [recalled.doc_id for recalled in collection.lexical(query, None, depth).recalled]


def dense_ids(collection: EmbeddedCollection, query: str, depth: int = 100) -> list[str]:
    vector = FakeBiEncoder().encode_queries([query])[0]
    return [recalled.doc_id for recalled in collection.dense(vector, None, depth).recalled]


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


BAD: list[tuple[list[Document], str, str]] = [
    ([], "documents", "empty"),
    ([a_document(n) for n in range(1001)], "documents", "at most 1000"),
    ([a_document(1), a_document(2), a_document(1)], "documents[2].doc_id", "documents[0].doc_id"),
    ([Document("", {"text": "x"})], "documents[0].doc_id", "empty"),
    ([Document("x" * 513, {"text": "x"})], "documents[0].doc_id", "512 bytes"),
    ([Document("\ud800", {"text": "x"})], "documents[0].doc_id", "surrogate"),
    ([Document("x", {"txet": "x"})], 'documents[0].fields["txet"]', "did you mean 'text'"),
    ([Document("x", {"text": " \n"})], "documents[0].fields", "empty"),
    ([Document("x", {})], "documents[0].fields", "empty"),
    ([Document("x", {"text": "é" * (1 << 19) + "x"})], "documents[0].fields", "1048577 bytes"),
    ([a_document(1), a_document(2, yaer=1)], 'documents[1].attributes["yaer"]', "'year'"),
    ([a_document(1, year="1")], 'documents[0].attributes["year"]', "of type string"),
    ([a_document(1, tags="x")], 'documents[0].attributes["tags"]', "of type string"),
    ([a_document(1, tags=("x",) * 65)], 'documents[0].attributes["tags"]', "at most 64"),
    ([a_document(1, tags=("x", "y" * 1025))], 'documents[0].attributes["tags"][1]', "1024 bytes"),
    ([a_document(1, price=float("inf"))], 'documents[0].attributes["price"]', "finite"),
    ([Document("x", {"text": "x"}, {}, [1.0, 2.0])], "documents[0].vector", "has 2 values"),
    ([Document("x", {"text": "x"}, {}, [0.0] * 64)], "documents[0].vector", "all zero"),
    (
        [a_document(1), Document("x", {"text": "x"}, {}, [1.0, float("nan"), *[0.0] * 62])],
        "documents[1].vector[1]",
        "nan",
    ),
    ([Document(str(n), {"text": "x" * (1 << 20)}) for n in range(17)], "documents", "16777216"),
]


@pytest.fixture(scope="module")
def holding_one(tmp_path_factory: pytest.TempPathFactory):
    collection = a_collection(tmp_path_factory.mktemp("bad"))
    write(collection, [a_document(7, "kept")])
    yield collection
    collection.close()


@pytest.mark.parametrize(("documents", "field", "says"), BAD)
def test_a_bad_batch_names_the_field_and_leaves_the_rest(holding_one, documents, field, says):
    with pytest.raises(InvalidFieldError) as caught:
        holding_one.upsert(documents)
    assert caught.value.field == field
    assert says in caught.value.description
    assert lexical_ids(holding_one, "kept") == ["d0007"]
    assert holding_one.stats().durable_sequence == 1


def test_bad_id_lists(collection: EmbeddedCollection):
    with pytest.raises(InvalidFieldError, match="doc_ids: is empty"):
        collection.delete([])
    with pytest.raises(TooLargeError, match="at most 1000"):
        collection.delete(["x"] * 1001)
    with pytest.raises(InvalidFieldError, match=r"doc_ids\[1\]"):
        collection.delete(["x", ""])


def test_a_failing_model_writes_nothing(tmp_path: Path):
    class Broken(FakeBiEncoder):
        def encode_passages(self, texts):
            return super().encode_passages(texts) * np.nan

    collection = EmbeddedCollection.create(tmp_path / "c", "c", SCHEMA, Broken(), CONFIG)
    with pytest.raises(ModelError, match="not finite"):
        collection.upsert([a_document(1)])
    assert collection.stats().document_count == 0
    collection.close()


@pytest.mark.parametrize("kind", ["auto", "flat", "fp16", "ivf", "hnsw"])
def test_closed_and_opened_again(tmp_path: Path, kind: str):
    collection = a_collection(tmp_path, kind=kind)
    config = Config(
        dense_index=DenseIndexConfig(kind=kind, exact_vectors=100, ivf_lists=4, ivf_probes=2)
    )
    write(collection, [a_document(n) for n in range(300)])
    collection.delete(["d0001", "d0002"])
    before = lexical_ids(collection, "word7 common"), dense_ids(collection, "word9", 1)
    again = reopened(collection, config=config)
    assert (lexical_ids(again, "word7 common"), dense_ids(again, "word9", 1)) == before
    assert again.stats().searchable_sequence == 302
    assert again.verify() == []
    write(again, [a_document(1, "back")])
    third = reopened(again, config=config)
    assert lexical_ids(third, "back") == ["d0001"]
    assert third.verify() == []
    third.close()


def test_a_changed_kind_is_built_anew(tmp_path: Path):
    collection = a_collection(tmp_path, kind="fp16")
    write(collection, [a_document(n) for n in range(50)])
    again = reopened(collection, config=Config(dense_index=DenseIndexConfig(kind="flat")))
    assert again.stats().dense_count == 50
    assert again.verify() == []
    again.close()


def damage_nothing(folder: Path) -> None:
    pass


def lose(name: str):
    def damage(folder: Path) -> None:
        (folder / name).rename(folder / f"{name}.gone")

    damage.__name__ = f"lose_{name}"
    return damage


def flip(pattern: str):
    def damage(folder: Path) -> None:
        path = max(folder.glob(pattern), key=lambda path: path.stat().st_size)
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 1
        path.write_bytes(content)

    damage.__name__ = f"flip_{pattern}"
    return damage


def truncate(pattern: str):
    def damage(folder: Path) -> None:
        path = max(folder.glob(pattern), key=lambda path: path.stat().st_size)
        path.write_bytes(path.read_bytes()[:-7])

    damage.__name__ = f"truncate_{pattern}"
    return damage


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing,
        lose("lexical"),
        lose("dense-1"),
        flip("lexical/*.idx"),
        flip("lexical/*.term"),
        flip("lexical/meta.json"),
        truncate("lexical/*.fast"),
        truncate("lexical/meta.json"),
        truncate("lexical/about.json"),
        flip("dense-1/rows-*"),
        truncate("dense-1/rows-*"),
        flip("dense-1/manifest.json"),
        truncate("dense-1/manifest.json"),
    ],
)
def test_damaged_indexes_are_built_anew(tmp_path: Path, damage, caplog):
    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(200)])
    collection.delete([f"d{n:04}" for n in range(0, 200, 7)])
    collection.close()
    damage(collection.folder)
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert again.verify() == []
    assert again.stats().lexical_count == again.stats().dense_count == 200 - 29
    assert lexical_ids(again, "word5") == ["d0005"]
    assert len(again.repairs) == (damage.__name__.startswith(("flip", "truncate")))
    assert all(repair in caplog.text for repair in again.repairs)
    assert all(".damaged" in repair for repair in again.repairs)
    again.close()


@pytest.mark.parametrize(
    ("function", "unserved"),
    [
        ("sidecar.recall.embedded.lexical.check_segments", "lexical"),
        ("sidecar.recall.embedded.lexical.LexicalIndex.__init__", "lexical"),
        ("sidecar.storage.snapshots.digest", "dense"),
        ("sidecar.recall.embedded.dense.restored_index", "dense"),
    ],
)
def test_what_cannot_be_read_now_is_left_as_it_is(
    tmp_path: Path, monkeypatch, function: str, unserved: str
):
    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(20)])
    collection.close()
    before = {path: path.stat().st_mtime_ns for path in collection.folder.glob("*/*")}
    works, tries, mended = pkgutil.resolve_name(function.replace("lexical.L", "lexical:L")), [], []

    def without_files(*arguments):
        if mended:
            return works(*arguments)
        tries.append(1)
        if len(tries) > 1:  # in the index thread, beside this one, which needs files
            raise StorageError("Too many open files")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            return works(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    monkeypatch.setattr(function, without_files)
    monkeypatch.setattr(derived_module, "MAX_RETRY_SECONDS", 0.01)
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    legs = {
        "lexical": again.lexical("common", None, 5),
        "dense": again.dense(FakeBiEncoder().encode_queries(["common"])[0], None, 5),
    }
    left_out = legs.pop(unserved)
    assert (left_out.reason, left_out.recalled) == (StageReason.INDEX_UNAVAILABLE, ())
    assert "Too many open files" in left_out.detail
    assert all(len(leg.recalled) == 5 for leg in legs.values())
    (finding,) = again.verify()
    assert "Too many open files" in finding
    assert before.items() <= {p: p.stat().st_mtime_ns for p in again.folder.glob("*/*")}.items()
    mended.append(1)
    assert again.wait_searchable(20, WAIT_SECONDS)
    assert len(lexical_ids(again, "common", 5)) == len(dense_ids(again, "common", 5)) == 5
    assert again.verify() == []
    assert again.repairs == ()
    assert list(again.folder.glob("*.damaged")) == []
    again.close()


@pytest.mark.parametrize("stale", ["lexical", "dense-1"])
def test_an_index_of_the_past_catches_up(tmp_path: Path, stale: str):
    import shutil

    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(30)])
    collection.close()
    shutil.copytree(collection.folder / stale, tmp_path / "past")
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    again.delete(["d0003"])
    write(again, [a_document(4, "newer"), a_document(99, "added")])
    again.close()
    shutil.rmtree(again.folder / stale)
    shutil.copytree(tmp_path / "past", again.folder / stale)
    third = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert third.verify() == []
    assert lexical_ids(third, "added") == ["d0099"]
    assert "d0003" not in dense_ids(third, "common word3")
    third.close()


def test_an_index_of_the_future_tells_of_writes_that_were_lost(tmp_path: Path, monkeypatch, caplog):
    import shutil

    collection = a_collection(tmp_path)
    write(collection, [a_document(1)])
    collection.close()
    database = collection.folder / "documents.sqlite"
    shutil.copy(database, tmp_path / "backup")
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    write(again, [a_document(2), a_document(3)])
    again.close()
    shutil.copy(tmp_path / "backup", database)
    gate = threading.Event()
    catch_up = derived_module.DerivedIndexes._catch_up
    with monkeypatch.context() as held:
        held.setattr(
            derived_module.DerivedIndexes, "_catch_up", lambda self: (gate.wait(), catch_up(self))
        )
        third = EmbeddedCollection.open(
            collection.folder, FakeBiEncoder(), CONFIG, catch_up_seconds=0.0
        )
    legs = third.lexical("common", None, 5), third.dense(np.ones(64, np.float32), None, 5)
    gate.set()
    assert len(third.repairs) == 2
    errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    for loss, leg, what in zip(third.repairs, legs, ("lexical", "dense"), strict=True):
        assert "the documents of collection 'things' have lost acknowledged writes" in loss
        assert f"the {what} index had all up to number 3, {database} ends at 1" in loss
        assert "backup" in loss
        assert loss in errors
        assert loss in leg.detail
    assert third.wait_searchable(1, WAIT_SECONDS)
    assert third.verify() == []
    assert lexical_ids(third, "common") == dense_ids(third, "common") == ["d0001"]
    third.close()


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


def test_without_a_bi_encoder_and_then_with_one(tmp_path: Path):
    collection = EmbeddedCollection.create(tmp_path / "c", "c", SCHEMA, None, CONFIG)
    write(collection, [a_document(n) for n in range(300)])
    leg = collection.dense(np.ones(64, np.float32), None, 5)
    assert leg.reason is StageReason.NOT_CONFIGURED
    assert collection.describe().bi_encoder == ""
    with pytest.raises(InvalidFieldError, match="no bi-encoder"):
        collection.upsert([dataclasses.replace(a_document(1), vector=[1.0] * 64)])
    assert collection.verify() == []
    again = reopened(collection)
    assert again.wait_searchable(again.stats().durable_sequence, WAIT_SECONDS)
    assert again.describe().bi_encoder == "fake-words"
    assert dense_ids(again, "common word9", 1) == ["d0009"]
    assert again.stats().dense_count == 300
    assert again.verify() == []
    again.close()


def test_vectors_of_another_revision_are_never_mixed(tmp_path: Path):
    collection = a_collection(tmp_path)
    write(collection, [a_document(1)])
    other = FakeBiEncoder(dataclasses.replace(BI_ENCODER_CONTRACT, revision="fake-2"))
    again = reopened(collection, other)
    leg = again.dense(other.encode_queries(["x"])[0], None, 5)
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    assert "fake-1" in leg.detail
    assert "fake-2" in leg.detail
    write(again, [a_document(2)])
    assert again.get(["d0002"], include_vectors=True)[0].vector is None
    assert lexical_ids(again, "common") == ["d0001", "d0002"]
    third = reopened(again)
    assert third.wait_searchable(third.stats().durable_sequence, WAIT_SECONDS)
    assert sorted(dense_ids(third, "common")) == ["d0001", "d0002"]
    assert third.verify() == []
    third.close()


def test_the_other_leg_serves_while_one_is_built(tmp_path: Path, monkeypatch):
    import shutil

    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(50)])
    collection.close()
    shutil.rmtree(collection.folder / "lexical")
    gate = threading.Event()
    step = derived_module.DerivedIndexes._step_lexical
    monkeypatch.setattr(
        derived_module.DerivedIndexes, "_step_lexical", lambda self: (gate.wait(), step(self))
    )
    again = EmbeddedCollection.open(
        collection.folder, FakeBiEncoder(), CONFIG, catch_up_seconds=0.0
    )
    leg = again.lexical("common", None, 5)
    assert (leg.reason, leg.recalled) == (StageReason.INDEX_UNAVAILABLE, ())
    assert "50 writes behind" in leg.detail
    assert len(dense_ids(again, "common", 5)) == 5
    gate.set()
    assert again.wait_searchable(50, WAIT_SECONDS)
    assert len(lexical_ids(again, "common", 5)) == 5
    again.close()


def test_a_failing_index_is_tried_again(collection: EmbeddedCollection, monkeypatch, caplog):
    monkeypatch.setattr(derived_module, "MAX_RETRY_SECONDS", 0.01)
    apply, failed = collection._derived.lexical.apply, threading.Event()

    def fail_once(changes):
        if not failed.is_set():
            failed.set()
            raise StorageError("made to fail")
        apply(changes)

    monkeypatch.setattr(collection._derived.lexical, "apply", fail_once)
    write(collection, [a_document(1)])
    assert failed.is_set()
    assert lexical_ids(collection, "common") == ["d0001"]


def test_whatever_fails_in_the_index_thread_it_goes_on(
    collection: EmbeddedCollection, monkeypatch, caplog
):
    advance, failed = derived_module.DerivedIndexes._advance, threading.Event()

    def fail_once(self):
        if not failed.is_set():
            failed.set()
            raise RuntimeError("unheard of")
        advance(self)

    monkeypatch.setattr(derived_module.DerivedIndexes, "_advance", fail_once)
    collection.upsert([a_document(1)])
    assert failed.wait(WAIT_SECONDS)
    written = collection.upsert([a_document(2)])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert "unheard of" in caplog.text


def test_a_failing_index_does_not_hold_the_other_back(collection: EmbeddedCollection, monkeypatch):
    gate = threading.Event()
    dense = collection._derived.generations.leading.dense
    dense_apply = dense.apply

    def fail(changes):
        raise StorageError("made to fail")

    def tell(changes, bi_encoder):
        dense_apply(changes, bi_encoder)
        gate.set()

    with monkeypatch.context() as broken:
        broken.setattr(collection._derived.lexical, "apply", fail)
        broken.setattr(dense, "apply", tell)
        broken.setattr(derived_module, "MAX_RETRY_SECONDS", 0.01)
        collection.upsert([a_document(1)])
        assert gate.wait(WAIT_SECONDS)
        assert dense_ids(collection, "common") == ["d0001"]
        assert lexical_ids(collection, "common") == []
    assert collection.wait_searchable(1, WAIT_SECONDS)
    assert collection.verify() == []


def test_however_long_one_index_fails_the_others_have_each_write_at_once(
    collection: EmbeddedCollection, monkeypatch, caplog
):
    def fail(changes, bi_encoder):
        raise StorageError("made to fail")

    other = Encoder()
    collection.add_generation(other)
    assert collection.wait_generation(identity_of(other), WAIT_SECONDS)
    derived = collection._derived
    beside = derived.generations.get(identity_of(other))
    with monkeypatch.context() as broken:
        broken.setattr(beside.dense, "apply", fail)
        for number in range(5):  # each would wait for twice as long as the one before
            written = collection.upsert([a_document(number)])
            assert collection.wait_searchable(written.sequence, 10)
        assert "made to fail" in derived.failure
        assert "made to fail" not in derived.lexical_fault()
    assert collection.wait_up_to_date(identity_of(other), WAIT_SECONDS)
    assert derived.failure == ""
    assert collection.verify() == []


@pytest.mark.parametrize("failing", ["snapshot", "better index"])
def test_what_failed_is_tried_again_though_nothing_is_written(
    tmp_path: Path, monkeypatch, caplog, failing: str
):
    works = {"snapshot": DenseIndex.save, "better index": dense_building.build}[failing]
    tries: list[int] = []

    def fail_once(*arguments):
        tries.append(1)
        if len(tries) == 1:
            raise StorageError("made to fail")
        works(*arguments)

    monkeypatch.setattr("sidecar.recall.embedded.upkeep.RETRY_SECONDS", 0.5)
    monkeypatch.setattr(dense_building, "RETRY_SECONDS", 0.5)
    if failing == "snapshot":
        monkeypatch.setattr("sidecar.recall.embedded.generation.SAVE_CHANGED_LEAST", 10)
        monkeypatch.setattr(DenseIndex, "save", fail_once)
    else:
        monkeypatch.setattr(dense_building, "build", fail_once)
    collection = a_collection(tmp_path, kind="fp16" if failing == "snapshot" else "ivf")
    write(collection, [a_document(number) for number in range(400)])
    dense = collection._derived.generations.leading.dense

    def is_done() -> bool:
        if failing == "snapshot":
            return len(tries) > 1 and dense.saved_watermark == 400
        return len(tries) > 1 and dense.form == "lists"

    assert collection._derived.wait_until(is_done, 20)
    collection.close()


def test_a_full_disk_at_the_end_costs_only_the_snapshot(tmp_path: Path, monkeypatch, caplog):
    collection = a_collection(tmp_path)
    write(collection, [a_document(1), a_document(2)])

    def fail(*arguments):
        raise StorageError("the disk is full")

    monkeypatch.setattr("sidecar.recall.embedded.dense.write_snapshot", fail)
    collection.close()
    monkeypatch.undo()
    assert "the next start replays" in caplog.text
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert dense_ids(again, "common") == ["d0001", "d0002"]
    assert again.verify() == []
    again.close()


@pytest.mark.parametrize("fault", [StorageError("made to fail"), RuntimeError("made to fail")])
def test_whatever_an_index_raises_a_collection_is_closed(tmp_path: Path, monkeypatch, fault):
    def fail(*arguments, **named):
        raise fault

    collection = a_collection(tmp_path)
    write(collection, [a_document(1)])
    with monkeypatch.context() as broken:
        broken.setattr(collection._derived.generations.leading.dense, "save", fail)
        collection.close()
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    with monkeypatch.context() as broken:
        broken.setattr(again._derived.lexical, "close", fail)
        with pytest.raises(type(fault), match="made to fail"):
            again.close()
    again._derived.lexical.close()
    third = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert lexical_ids(third, "common") == dense_ids(third, "common") == ["d0001"]
    third.close()


def test_while_writes_do_not_cease_snapshots_and_graphs_are_made(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sidecar.recall.embedded.generation.SAVE_CHANGED_LEAST", 10)
    monkeypatch.setattr("sidecar.recall.embedded.dense_graph.CHANGED_LEAST", 10)
    monkeypatch.setattr("sidecar.recall.embedded.upkeep.BUSY_SECONDS", 0.0)
    monkeypatch.setattr("sidecar.recall.embedded.upkeep.BUSY_REST", 0.0)
    collection = a_collection(tmp_path, kind="hnsw")
    derived, store = collection._derived, collection._store
    apply, dense = derived.lexical.apply, derived.generations.leading.dense
    numbers, done = iter(range(1, 100)), threading.Event()

    def write_while_indexing(changes):
        """There is always one more write than the index has."""
        apply(changes)
        number = next(numbers, None)
        made = dense.saved_watermark and dense._vectors.rows.count and store.pruned_sequence()
        if number is None or made:
            done.set()
        else:
            collection.upsert([a_document(number)])
            if number % 5 == 0:
                collection.delete([f"d{number:04}"])

    monkeypatch.setattr(derived.lexical, "apply", write_while_indexing)
    collection.upsert([a_document(0)])
    assert done.wait(WAIT_SECONDS)
    assert next(numbers, None) is not None
    assert collection.verify() == []
    collection.close()


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


def test_what_is_written_is_found_while_a_snapshot_is_written(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sidecar.recall.embedded.generation.SAVE_CHANGED_LEAST", 10)
    collection = a_collection(tmp_path)
    dense, reached, go_on = (
        collection._derived.generations.leading.dense,
        threading.Event(),
        threading.Event(),
    )
    save = dense.save

    def save_later(*arguments) -> None:
        reached.set()
        assert go_on.wait(WAIT_SECONDS)
        save(*arguments)

    monkeypatch.setattr(dense, "save", save_later)
    write(collection, [a_document(n) for n in range(20)])
    assert reached.wait(WAIT_SECONDS)
    write(collection, [a_document(50, "late")])
    assert lexical_ids(collection, "late") == ["d0050"]
    assert "d0050" in dense_ids(collection, "late", 100)
    go_on.set()
    again = reopened(collection)
    assert again.stats().dense_count == 21
    assert again.verify() == []
    again.close()


def test_a_snapshot_that_fails_does_not_hold_indexing_back(
    collection: EmbeddedCollection, monkeypatch, caplog
):
    def fail(*arguments):
        raise RuntimeError("made to fail")

    monkeypatch.setattr("sidecar.recall.embedded.generation.SAVE_CHANGED_LEAST", 1)
    dense, tries = collection._derived.generations.leading.dense, []
    monkeypatch.setattr(dense, "save", lambda *arguments: (tries.append(1), fail()))
    for number in range(10):
        write(collection, [a_document(number)])
    assert collection._derived.failure == ""
    assert len(tries) <= 1  # the next one is half a minute later
    assert collection.verify() == []
    monkeypatch.undo()


def test_tombstones_go_once_both_indexes_have_them_on_disk(tmp_path: Path):
    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(5)])
    collection.delete(["d0000"])
    assert collection.wait_searchable(6, WAIT_SECONDS)
    assert collection._store.pruned_sequence() == 0
    again = reopened(collection)
    assert again._store.pruned_sequence() == 6
    again.close()


def test_a_closed_collection_refuses(tmp_path: Path):
    collection = a_collection(tmp_path)
    collection.close()
    collection.close()
    with pytest.raises(StorageError, match="closed"):
        collection.upsert([a_document(1)])
    with pytest.raises(StorageError, match="closed"):
        collection.get(["x"])


def test_a_second_opener_is_refused(collection: EmbeddedCollection):
    with pytest.raises(StorageError, match="in use"):
        EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)


def test_creation(tmp_path: Path):
    with pytest.raises(InvalidFieldError, match="name"):
        EmbeddedCollection.create(tmp_path / "X", "X", SCHEMA, None, CONFIG)
    schema = Schema(text_fields=(TextField("a"), TextField("b"), TextField("a")))
    with pytest.raises(InvalidFieldError) as caught:
        EmbeddedCollection.create(tmp_path / "x", "x", schema, None, CONFIG)
    assert caught.value.field == "schema.text_fields[2].name"
    schema = Schema(text_fields=(TextField("a", "klingon"),))
    with pytest.raises(InvalidFieldError, match="analyzer"):
        EmbeddedCollection.create(tmp_path / "x", "x", schema, None, CONFIG)
    assert list(tmp_path.iterdir()) == []
    EmbeddedCollection.create(tmp_path / "x", "x", SCHEMA, None, CONFIG).close()
    with pytest.raises(CollectionExistsError):
        EmbeddedCollection.create(tmp_path / "x", "x", SCHEMA, None, CONFIG)
    with pytest.raises(StorageError, match="no such folder"):
        EmbeddedCollection.open(tmp_path / "y", None, CONFIG)


def test_query_vectors_of_another_length_are_refused(collection: EmbeddedCollection):
    with pytest.raises(InvalidFieldError, match="query_vector"):
        collection.dense(np.ones(3, np.float32), None, 5)


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
