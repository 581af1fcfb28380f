"""An index that others made and write: searched by a mapping of fields, never written."""

from __future__ import annotations

import json
import urllib.request
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeBiEncoder
from recalling import WAIT_SECONDS

from sidecar.config import BackendConfig, Config
from sidecar.errors import InvalidFieldError, UnsupportedError
from sidecar.recall.catalog import Catalog
from sidecar.types import (
    AttributeField,
    AttributeType,
    Backend,
    Document,
    Equals,
    FacetRequest,
    FieldMapping,
    NoneOf,
    OneOf,
    Range,
    Schema,
    StageReason,
    TextField,
)

SCHEMA = Schema(
    (TextField("title"), TextField("text")),
    (
        AttributeField("brand", AttributeType.STRING),
        AttributeField("stock", AttributeType.INTEGER),
        AttributeField("price", AttributeType.DOUBLE),
        AttributeField("new", AttributeType.BOOLEAN),
        AttributeField("seen", AttributeType.TIMESTAMP),
        AttributeField("tags", AttributeType.STRING_LIST),
    ),
)
MAPPING = {
    "title": "name",
    "text": "about.text",
    "brand": "brand.keyword",
    "stock": "stock",
    "price": "price",
    "new": "is_new",
    "seen": "listed",
    "tags": "tags",
    "vector": "embedding",
}
PROPERTIES: dict[str, Any] = {
    "name": {"type": "text", "analyzer": "english"},
    "about": {"properties": {"text": {"type": "text", "analyzer": "english"}}},
    "brand": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
    "stock": {"type": "integer"},
    "price": {"type": "float"},
    "is_new": {"type": "boolean"},
    "listed": {"type": "date"},
    "tags": {"type": "keyword"},
    "embedding": {
        "type": "knn_vector",
        "dimension": 64,
        "space_type": "cosinesimil",
        "method": {"name": "hnsw", "engine": "lucene"},
    },
    "by_l2": {
        "type": "knn_vector",
        "dimension": 64,
        "method": {"name": "hnsw", "engine": "lucene"},
    },
    "short": {
        "type": "knn_vector",
        "dimension": 3,
        "method": {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"},
    },
}
SEEN = datetime(2024, 2, 29, 12, tzinfo=UTC)
SOURCES: dict[str, dict[str, Any]] = {
    "a": {
        "name": "red foxes",
        "about": {"text": "they run"},
        "brand": "Acme",
        "stock": 3,
        "price": 1.5,
        "is_new": True,
        "listed": "2024-02-29T12:00:00Z",
        "tags": ["x", "y"],
    },
    "b": {"name": "blue owl", "about": {"text": "it sleeps, unlike a fox"}, "stock": 0, "price": 2},
    "c": {"name": ["old", "fox"], "about.text": "", "brand": "Zett", "listed": 1709208000000},
}


def call(url: str, method: str, path: str, body: object = None) -> Any:
    text = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, text, {"Content-Type": "application/json"})
    request.method = method
    with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
        return json.loads(response.read())


@pytest.fixture(scope="module")
def index(opensearch_url: str):
    """An index as a team may have it."""
    name = f"theirs-{uuid.uuid4().hex[:12]}"
    body = {"settings": {"index": {"knn": True}}, "mappings": {"properties": PROPERTIES}}
    call(opensearch_url, "PUT", f"/{name}", body)
    for doc_id, source in SOURCES.items():
        text = f"{source['name']}"
        vector = (3.0 * FakeBiEncoder().encode_passages([text])[0]).tolist()
        path = f"/{name}/_doc/{doc_id}?refresh=true"
        call(opensearch_url, "PUT", path, {**source, "embedding": vector})
    yield name
    call(opensearch_url, "DELETE", f"/{name}")


@pytest.fixture(scope="module")
def catalog(opensearch_url: str, tmp_path_factory: pytest.TempPathFactory):
    config = Config(backends={"cluster": BackendConfig(url=opensearch_url)})
    catalog = Catalog.open(tmp_path_factory.mktemp("existing"), FakeBiEncoder(), config)
    yield catalog
    catalog.close()


def a_backend(index: str, **changes: str) -> Backend:
    paths = {**MAPPING, **changes}
    return Backend("cluster", index, tuple(FieldMapping(n, p) for n, p in paths.items() if p))


@pytest.fixture(scope="module")
def collection(catalog: Catalog, index: str):
    return catalog.create("theirs", SCHEMA, a_backend(index))


def ids(leg) -> list[str]:
    assert leg.reason is StageReason.NONE, leg.detail
    return [recalled.doc_id for recalled in leg.recalled]


def test_its_own_analyzers_read_the_query(collection):
    assert set(ids(collection.lexical("foxes", None, 10))) == {"a", "b", "c"}
    assert ids(collection.lexical("sleeping", None, 10)) == ["b"]
    weights = {"title": 0.0}
    assert ids(collection.lexical("fox", None, 10, field_weights=weights)) == ["b"]


def test_the_dense_leg_is_by_cosine(collection):
    query = FakeBiEncoder().encode_queries(["red foxes"])[0]
    leg = collection.dense(query, None, 10)
    assert ids(leg)[0] == "a"
    assert leg.recalled[0].score == pytest.approx(1.0, abs=1e-5)
    assert ids(collection.dense(query, Equals("brand", "Zett"), 10)) == ["c"]


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        (Equals("brand", "Acme"), {"a"}),
        (Equals("brand", "acme"), set()),
        (NoneOf((Equals("brand", "Acme"),)), {"b", "c"}),
        (OneOf("stock", (0, 3)), {"a", "b"}),
        (Range("price", lower=1.5, lower_inclusive=False), {"b"}),
        (Equals("new", True), {"a"}),
        (Equals("tags", "y"), {"a"}),
        (Equals("seen", SEEN), {"a", "c"}),
        (Range("seen", upper=SEEN, upper_inclusive=False), set()),
    ],
)
def test_filters_over_its_fields(collection, filter, wanted):
    assert set(ids(collection.lexical("fox", filter, 10))) == wanted
    query = FakeBiEncoder().encode_queries(["fox"])[0]
    assert set(ids(collection.dense(query, filter, 10))) == wanted


def test_documents_are_read_by_the_mapping(collection):
    first, second, third = collection.get(["a", "b", "c", "nope"], include_vectors=True)
    assert first == Document(
        "a",
        {"title": "red foxes", "text": "they run"},
        {
            "brand": "Acme",
            "stock": 3,
            "price": 1.5,
            "new": True,
            "seen": SEEN,
            "tags": ("x", "y"),
        },
        first.vector,
    )
    assert np.linalg.norm(first.vector) == pytest.approx(1.0)
    assert second.attributes == {"stock": 0, "price": 2.0}
    assert third.fields == {"title": "old\nfox"}
    assert third.attributes == {"brand": "Zett", "seen": SEEN}
    assert collection.passages(["a"]) == {"a": "red foxes\nthey run"}
    assert set(collection.vectors(["a", "b"])) == {"a", "b"}


def test_values_are_counted(collection):
    requests = [FacetRequest(name) for name in ("brand", "new", "seen", "price")]
    brand, new, seen, price = collection.facets(requests, None)
    assert [(each.of, each.count) for each in brand.counts] == [("Acme", 1), ("Zett", 1)]
    assert brand.missing_count == 1
    assert [(each.of, each.count) for each in new.counts] == [(True, 1)]
    assert [(each.of, each.count) for each in seen.counts] == [(SEEN, 2)]
    assert [(each.of, each.count) for each in price.counts] == [(1.5, 1), (2.0, 1)]


def test_it_is_never_written(collection, catalog: Catalog, opensearch_url: str, index: str):
    with pytest.raises(UnsupportedError, match="is read only"):
        collection.upsert([Document("d", {"title": "x"})])
    with pytest.raises(UnsupportedError, match="is read only"):
        collection.delete(["a"])
    assert collection.describe().backend.read_only
    assert collection.stats().document_count == 3
    assert collection.verify() == []
    other = catalog.create("again", SCHEMA, a_backend(index, vector=""))
    leg = other.dense(FakeBiEncoder().encode_queries(["fox"])[0], None, 5)
    assert leg.reason is StageReason.NOT_CONFIGURED
    catalog.drop("again")
    assert call(opensearch_url, "GET", f"/{index}/_count")["count"] == 3


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"title": "nmae"}, "backend.mapping[0].path", "has no field 'nmae'"),
        ({"title": "stock"}, "backend.mapping[0].path", "is of type integer"),
        ({"brand": "brand"}, "backend.mapping[2].path", "is of type text"),
        ({"seen": ""}, "backend.mapping", "has no path for seen"),
        ({"colour": "tags"}, "backend.mapping[9].name", "is no field of the schema"),
        ({"vector": "by_l2"}, "backend.mapping[8].path", "compares vectors by l2"),
        ({"vector": "short"}, "backend.mapping[8].path", "has 3 dimensions"),
    ],
)
def test_a_mapping_that_does_not_fit_is_named(catalog, index, changes, field, says):
    with pytest.raises(InvalidFieldError) as caught:
        catalog.create("other", SCHEMA, a_backend(index, **changes))
    assert caught.value.field == field
    assert says in caught.value.description
    assert [each.name for each in catalog.list()] == ["theirs"]


def test_an_index_of_others_is_not_taken_for_ones_own(catalog: Catalog, index: str, tmp_path: Path):
    for backend in (Backend("cluster", index), Backend("cluster", index, read_only=True)):
        with pytest.raises(InvalidFieldError, match="was not made by a sidecar") as caught:
            catalog.create("other", SCHEMA, backend)
        assert caught.value.field == "backend.index"


@pytest.mark.parametrize(
    "index", ["theirs-*", "a,b", "_all", "-a", "*", "a/_search", ".hidden", "A", "a b", "a?x"]
)
def test_only_one_index_can_be_named(catalog: Catalog, index: str):
    for backend in (
        a_backend(index),
        Backend("cluster", index),
        Backend("cluster", index, (), True),
    ):
        with pytest.raises(InvalidFieldError, match="is not the name of one index") as caught:
            catalog.create("other", SCHEMA, backend)
        assert caught.value.field == "backend.index"
