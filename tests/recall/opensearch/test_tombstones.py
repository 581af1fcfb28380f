"""What stays of deleted documents goes after a day, and nothing else does."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path

from fakes import FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS, a_document, write

from sidecar.config import BackendConfig, Config
from sidecar.recall.catalog import Catalog
from sidecar.recall.opensearch import upkeep
from sidecar.types import Backend


def kept(collection) -> set[str]:
    """The ids of documents and tombstones that are searchable."""
    collection._client.call("POST", f"{collection._writer._path}/_refresh")
    answer = collection._client.call("POST", f"{collection._writer._path}/_search", {"size": 100})
    return {hit["_id"] for hit in answer["hits"]["hits"]}


def test_old_ones_go(tmp_path: Path, opensearch_url: str, monkeypatch):
    config = Config(backends={"cluster": BackendConfig(url=opensearch_url)})
    catalog = Catalog.open(tmp_path, FakeBiEncoder(), config)
    name = f"t{uuid.uuid4().hex[:12]}"
    collection = catalog.create(name, SCHEMA, Backend("cluster", ""))
    write(collection, [a_document(number) for number in range(10)])
    collection.delete(["d0001", "d0002"])
    collection.delete(["d0003"])
    everything = {f"d{number:04}" for number in range(10)}
    assert kept(collection) == everything
    monkeypatch.setattr(upkeep, "TOMBSTONE_HOURS", 0.0)
    collection.delete(["d0004"])  # an hour has not passed
    assert kept(collection) == everything
    monkeypatch.setattr(collection._writer._tombstones, "_next", 0.0)
    collection.delete(["d0005"])
    gone = {f"d{number:04}" for number in range(1, 6)}
    end = time.monotonic() + WAIT_SECONDS
    while kept(collection) != everything - gone:
        assert time.monotonic() < end, kept(collection)
        threading.Event().wait(0.1)  # between two looks
    assert {document.doc_id for document in collection.get(sorted(everything))} == everything - gone
    assert collection.upsert([a_document(1, "new")]).count == 1
    assert collection.verify() == []
    catalog.drop(name)
    catalog.close()
