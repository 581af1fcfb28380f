"""What a collection says and keeps while its OpenSearch is killed, hangs, or lost a shard."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from pathlib import Path

import pytest
from engines.opensearch import Node
from fakes import FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS, a_document, write

from sidecar.config import BackendConfig, Config
from sidecar.errors import BackendUnavailableError, CollectionNotFoundError
from sidecar.recall.catalog import Catalog
from sidecar.types import Backend, Equals, StageReason

QUERY = FakeBiEncoder().encode_queries(["common"])[0]
# The way there and back, on a machine that does other things, too.
GRACE_SECONDS = 1.0


def open_catalog(folder: Path, url: str, **keys) -> Catalog:
    config = Config(backends={"cluster": BackendConfig(url=url, **keys)})
    return Catalog.open(folder, FakeBiEncoder(), config)


@pytest.fixture
def name() -> str:
    return f"f{uuid.uuid4().hex[:12]}"


@pytest.fixture
def catalog(tmp_path: Path, opensearch_node: Node):
    catalog = open_catalog(tmp_path, opensearch_node.url, shards=2)
    yield catalog
    for collection in catalog.list():
        catalog.drop(collection.name)
    catalog.close()


@pytest.fixture
def collection(catalog: Catalog, name: str):
    collection = catalog.create(name, SCHEMA, Backend("cluster", ""))
    write(collection, [a_document(number, year=number % 3) for number in range(60)])
    return collection


def both_legs(collection, **options):
    yield collection.lexical("common", Equals("year", 1), 60, **options)
    yield collection.dense(QUERY, Equals("year", 1), 60, **options)


def assert_whole(collection) -> None:
    for leg in both_legs(collection):
        assert leg.reason is StageReason.NONE, leg.detail
        assert len(leg.recalled) == 20


def test_a_node_that_is_down_is_said_by_each_leg(opensearch_node: Node, collection):
    opensearch_node.kill()
    for leg in both_legs(collection, timeout_seconds=2.0):
        assert leg.reason is StageReason.INDEX_UNAVAILABLE
        assert "backend 'cluster' cannot be reached" in leg.detail
        assert leg.recalled == ()
    for call in (
        lambda: collection.get(["d0001"]),
        lambda: collection.passages(["d0001"]),
        lambda: collection.upsert([a_document(1)]),
        lambda: collection.delete(["d0001"]),
        collection.stats,
    ):
        with pytest.raises(BackendUnavailableError, match="cannot be reached"):
            call()
    last = collection.searchable_sequence
    with pytest.raises(BackendUnavailableError, match="cannot be reached"):
        collection.wait_searchable(last + 1, 5.0)
    assert collection.describe().name == collection.name
    opensearch_node.start()
    opensearch_node.wait("green")
    assert_whole(collection)


def test_a_node_that_hangs_takes_no_longer_than_a_leg_may(opensearch_node: Node, collection):
    assert_whole(collection)
    opensearch_node.pause()
    try:
        for method, arguments in (("lexical", "common"), ("dense", QUERY)):
            started = time.monotonic()
            leg = getattr(collection, method)(arguments, None, 10, timeout_seconds=0.3)
            assert time.monotonic() - started < 0.3 + GRACE_SECONDS
            assert leg.reason is StageReason.INDEX_UNAVAILABLE
            assert "did not answer within 300 ms" in leg.detail
        assert not collection.wait_searchable(collection.searchable_sequence + 1, 0.3)
    finally:
        opensearch_node.resume()
    opensearch_node.wait("green")
    assert_whole(collection)


def test_a_lost_shard_is_an_answer_of_the_others(
    tmp_path: Path, opensearch_node: Node, catalog: Catalog, collection
):
    index = f"sidecar-{collection.name}"
    shards = {
        each["shard"] for each in opensearch_node.call("GET", f"/_cat/shards/{index}?format=json")
    }
    assert shards == {"0", "1"}
    uuid_of = opensearch_node.call("GET", f"/{index}/_settings")[index]["settings"]["index"]["uuid"]
    there = {
        hit["_id"]
        for hit in opensearch_node.call(
            "GET", f"/{index}/_search?preference=_shards:0&size=100&_source=false"
        )["hits"]["hits"]
    }
    assert 0 < len(there) < 60
    opensearch_node.stop()
    (lost,) = opensearch_node.folder.glob(f"data/nodes/0/indices/{uuid_of}/1")
    shutil.rmtree(lost)
    opensearch_node.start()
    opensearch_node.wait("red")
    wait_for_shards(opensearch_node, index, 1)
    for leg in both_legs(collection):
        assert leg.reason is StageReason.SHARDS_MISSING
        assert leg.answered == 0.5
        assert "1 of 2 shards answered" in leg.detail
        assert {recalled.doc_id for recalled in leg.recalled} == {
            doc_id for doc_id in there if int(doc_id[1:]) % 3 == 1
        }
    assert set(collection.passages(sorted(there))) == there
    gone = sorted({f"d{number:04}" for number in range(60)} - there)
    with pytest.raises(BackendUnavailableError, match="cannot be read"):
        collection.get(gone)
    with pytest.raises(BackendUnavailableError, match="1 of 2 shards"):
        collection.stats()
    with pytest.raises(BackendUnavailableError, match="primary shard is not active"):
        collection.upsert([a_document(number) for number in range(60)])
    (finding,) = collection.verify()
    assert "is red: 1 shards are nowhere" in finding


def test_an_index_that_is_gone_is_said_and_not_made_by_a_write(
    opensearch_node: Node, catalog: Catalog, collection
):
    opensearch_node.call("DELETE", f"/sidecar-{collection.name}")
    for leg in both_legs(collection):
        assert leg.reason is StageReason.INDEX_UNAVAILABLE
        assert "no such index" in leg.detail
    with pytest.raises(Exception, match="no such index"):
        collection.upsert([a_document(1)])
    assert collection.verify()
    indices = {each["index"] for each in opensearch_node.call("GET", "/_cat/indices?format=json")}
    assert f"sidecar-{collection.name}" not in indices
    catalog.drop(collection.name)
    with pytest.raises(CollectionNotFoundError):
        catalog.get(collection.name)


def test_opened_while_it_is_down_and_used_once_it_is_up(
    tmp_path: Path, opensearch_node: Node, name: str
):
    catalog = open_catalog(tmp_path / "own", opensearch_node.url)
    last = catalog.create(name, SCHEMA, Backend("cluster", "")).upsert([a_document(1)]).sequence
    catalog.close()
    opensearch_node.kill()
    catalog = open_catalog(tmp_path / "own", opensearch_node.url)
    collection = catalog.get(name)
    assert collection.lexical("common", None, 5).reason is StageReason.INDEX_UNAVAILABLE
    opensearch_node.start()
    opensearch_node.wait("green")
    written = collection.upsert([a_document(2)])
    assert written.sequence > last
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    leg = collection.lexical("common", None, 5)
    assert [recalled.doc_id for recalled in leg.recalled] == ["d0001", "d0002"]
    catalog.drop(name)
    catalog.close()


def test_two_sidecars_before_one_index(tmp_path: Path, opensearch_node: Node, name: str):
    """One writes; the other reads, finds what the first has written, and cannot write."""
    one = open_catalog(tmp_path / "one", opensearch_node.url)
    two = open_catalog(tmp_path / "two", opensearch_node.url)
    writer = one.create(name, SCHEMA, Backend("cluster", ""))
    reader = two.create("copy", SCHEMA, Backend("cluster", f"sidecar-{name}", read_only=True))
    assert reader.describe().incarnation == writer.describe().incarnation
    sequence = writer.upsert([a_document(1)]).sequence
    assert sequence <= reader.durable_sequence
    assert reader.wait_searchable(sequence, WAIT_SECONDS)
    assert [each.doc_id for each in reader.lexical("common", None, 5).recalled] == ["d0001"]
    two.drop("copy")
    assert len(writer.get(["d0001"])) == 1
    one.drop(name)
    for catalog in (one, two):
        catalog.close()


def test_a_write_that_comes_late_does_not_bring_a_document_back(opensearch_node: Node, collection):
    """The bulk request of an upsert is sent again, as a slow network may, after the deletion."""
    sent = []
    call = collection._client.call

    def recording(method, path, body=None, *arguments, **options):
        if "_bulk" in path:
            sent.append((method, path, body))
        return call(method, path, body, *arguments, **options)

    collection._client.call = recording
    collection.upsert([a_document(500, "late")])
    collection.delete(["d0500"])
    answer = call(*sent[0])
    assert answer["errors"]
    opensearch_node.call("POST", f"/sidecar-{collection.name}/_refresh")
    assert collection.get(["d0500"]) == []
    assert collection.lexical("late", None, 5).recalled == ()


def test_a_write_that_meets_a_newer_clock_is_the_last_all_the_same(
    opensearch_node: Node, collection
):
    """Another sidecar, whose clock is an hour ahead, wrote the document before."""
    ahead = time.time_ns() // 1000 + 3600 * 1_000_000
    sequences = collection._writer.sequences
    sequences.raise_to(ahead)
    other = collection.upsert([a_document(1, "theirs")])
    assert other.sequence > ahead
    sequences._last = 0
    written = collection.upsert([a_document(1, "mine"), a_document(2, "mine")])
    assert written.sequence > other.sequence
    assert written.versions[0] == written.sequence
    assert [each.fields["text"] for each in collection.get(["d0001"])] == ["mine"]
    assert sequences.take(1).start > other.sequence


def wait_for_shards(node: Node, index: str, count: int) -> None:
    """Returns once so many shards of an index are started."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        shards = node.call("GET", f"/_cat/shards/{index}?format=json")
        if sum(each["state"] == "STARTED" for each in shards) == count:
            return
        assert time.monotonic() < end, shards
        threading.Event().wait(0.1)  # between two looks
