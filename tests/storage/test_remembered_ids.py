"""Remembered ids of documents: against what the database has, whatever is written meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recalling import a_document
from storing import HEADER, MODEL, UNIT, write

from sidecar.storage import statements
from sidecar.storage.documents import FILE_NAME, DocumentStore
from sidecar.storage.remembered_ids import ENTRY_BYTES, RememberedIds

# For about three ids in each half.
FEW_BYTES = 6 * (ENTRY_BYTES + 60)

documents = st.integers(1, 6)
steps = st.lists(
    st.tuples(st.sampled_from(["write", "delete", "ask"]), st.lists(documents, max_size=4)),
    max_size=30,
)


@given(steps, st.sampled_from([0, FEW_BYTES, 1 << 20]))
@settings(max_examples=60, deadline=None)
def test_what_is_remembered_is_what_the_database_has(steps, max_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = DocumentStore.create(Path(folder), HEADER, MODEL)
        store._ids = RememberedIds(max_bytes)
        for step, numbers in steps:
            if step == "write":
                write(store, *map(a_document, dict.fromkeys(numbers)))
            elif step == "delete":
                store.delete([f"d{number:04}" for number in numbers])
            ordinals = list(range(30)) if step != "ask" else sorted(set(numbers))
            assert store.remembered_doc_ids(ordinals) == store.doc_ids(ordinals)
            assert store._ids.bytes <= max_bytes
        store.close()


class Asked:
    """How often the database was asked for ids, and what is done after it answered."""

    def __init__(self) -> None:
        self.ordinals: list[list[int]] = []
        self.then: Callable[[], object] = lambda: None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked, ids_of = Asked(), statements.ids_of

    def spied(connection, ordinals: Sequence[int]) -> Iterator[tuple[int, str, bool]]:
        asked.ordinals.append(list(ordinals))
        found = list(ids_of(connection, ordinals))
        then, asked.then = asked.then, lambda: None
        then()
        return iter(found)

    monkeypatch.setattr(statements, "ids_of", spied)
    return asked


def test_the_database_is_asked_once_for_each(store: DocumentStore, asked: Asked) -> None:
    write(store, *map(a_document, (1, 2, 3)))
    assert store.remembered_doc_ids([1, 2]) == {1: "d0001", 2: "d0002"}
    assert store.remembered_doc_ids([3, 2]) == {2: "d0002", 3: "d0003"}
    assert store.remembered_doc_ids([3, 2, 1]) == {1: "d0001", 2: "d0002", 3: "d0003"}
    assert asked.ordinals == [[1, 2], [3]]
    write(store, a_document(2, "again"))
    assert store.remembered_doc_ids([1, 2, 3]) == {1: "d0001", 2: "d0002", 3: "d0003"}
    assert asked.ordinals[2:] == [[2]]


def test_one_deleted_while_it_is_read_is_not_remembered(store: DocumentStore, asked: Asked) -> None:
    """The reader has the state before the deletion, which is acknowledged before it is done."""
    write(store, *map(a_document, (1, 2)))
    asked.then = lambda: store.delete(["d0001"])
    store.remembered_doc_ids([1, 2])
    assert store.doc_ids([1, 2]) == {2: "d0002"}
    assert store.remembered_doc_ids([1, 2]) == {2: "d0002"}


def test_one_written_anew_while_others_are_read_is_there_once(
    store: DocumentStore, asked: Asked
) -> None:
    write(store, *map(a_document, (1, 2)))
    assert store.remembered_doc_ids([1]) == {1: "d0001"}

    def write_anew() -> None:
        store.delete(["d0001"])
        write(store, a_document(1))

    asked.then = write_anew
    assert store.remembered_doc_ids([1, 2]) == {2: "d0002"}
    assert store.remembered_doc_ids([1, 2, 3]) == {2: "d0002", 3: "d0001"}


def test_between_commit_and_answer_nothing_of_both_sides_is_remembered(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, a_document(1))
    assert store.remembered_doc_ids([1]) == {1: "d0001"}
    forget, seen = store._ids.forget, []

    def forgetting(doc_ids: Sequence[str]) -> None:
        if store.doc_ids([2]):
            seen.append(store.remembered_doc_ids([1, 2]))
        forget(doc_ids)

    monkeypatch.setattr(store._ids, "forget", forgetting)
    store.delete(["d0001"])
    store._ids.keep({1: "d0001"}, store._ids.find([1])[1])  # as if not yet forgotten
    write(store, a_document(1))
    assert seen == [{2: "d0001"}]
    assert store.remembered_doc_ids([1, 2]) == {2: "d0001"}


def test_a_damaged_document_is_not_remembered(tmp_path: Path) -> None:
    store = DocumentStore.create(tmp_path, HEADER, MODEL)
    store.write([a_document(n) for n in (1, 2, 3)], [UNIT] * 3, MODEL)
    store.close()
    path = tmp_path / FILE_NAME
    content = path.read_bytes()
    row = content.index(b"word2")
    at = content.rindex(b"d0002", row - 60, row)
    path.write_bytes(content[:at] + b"d0003" + content[at + 5 :])
    store = DocumentStore.open(tmp_path)
    for _ in range(2):
        assert store.remembered_doc_ids([1, 2, 3]) == {1: "d0001", 3: "d0003"}
        assert store._ids.find([1, 2, 3])[0] == {1: "d0001", 3: "d0003"}
    write(store, a_document(2, "again"))
    assert store.remembered_doc_ids([1, 2, 3]) == {1: "d0001", 2: "d0002", 3: "d0003"}
    store.close()


def test_what_was_asked_for_of_late_stays() -> None:
    """However many are asked for once."""
    ids = RememberedIds(200 * (ENTRY_BYTES + 60))
    for ordinal in range(10_000):
        found, state = ids.find([7])
        assert found == ({7: "d7"} if ordinal > 7 else {})
        assert ids.keep({ordinal: f"d{ordinal}"}, state)
        assert len(ids) <= 220
    assert ids.find(range(9_000))[0] == {7: "d7"}
    assert len(ids.find(range(9_950, 10_000))[0]) == 50


def test_one_too_large_is_not_remembered() -> None:
    ids = RememberedIds(2 * ENTRY_BYTES)
    assert ids.keep({1: "d" * ENTRY_BYTES}, ids.find([1])[1])
    assert (len(ids), ids.bytes) == (0, 0)
