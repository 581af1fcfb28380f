"""What a collection refuses, by field, and that the rest is left as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBiEncoder
from recalling import CONFIG, SCHEMA, a_collection, a_document, lexical_ids, write

from sidecar.errors import (
    CollectionExistsError,
    InvalidFieldError,
    ModelError,
    StorageError,
    TooLargeError,
)
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.types import Document, Schema, TextField

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
