"""What is to be done for an index now and then, and what can be found wrong with it."""

from __future__ import annotations

import time
from urllib.parse import quote

from sidecar.errors import BackendError
from sidecar.recall.opensearch import creation
from sidecar.recall.opensearch.client import Client
from sidecar.recall.opensearch.index import DELETED, SEQUENCE, write_alias
from sidecar.recall.opensearch.reading import Reader
from sidecar.recall.remote import RemoteRecord

# A write that was broken off so long ago does not come any more.
TOMBSTONE_HOURS = 24.0


def purge_tombstones(client: Client, record: RemoteRecord) -> None:
    """Has OpenSearch remove old ones; it goes on there by itself."""
    before = time.time_ns() // 1000 - int(TOMBSTONE_HOURS * 3600 * 1_000_000)
    old = [{"term": {DELETED: True}}, {"range": {SEQUENCE: {"lt": before}}}]
    path = f"/{quote(record.backend.index)}/_delete_by_query"
    client.call(
        "POST",
        f"{path}?conflicts=proceed&wait_for_completion=false",
        {"query": {"bool": {"filter": old}}},
    )


def verify_index(client: Client, record: RemoteRecord, reader: Reader) -> list[str]:
    """What is wrong, nothing if all is well. Raises BackendUnavailableError."""
    try:
        creation.check(client, record)
    except BackendError as error:
        return [error.message]
    index = quote(record.backend.index)
    health = client.call("GET", f"/_cluster/health/{index}?level=indices")
    if health["status"] == "red":
        missing = health["unassigned_shards"]
        return [f"index {record.backend.index!r} is red: {missing} shards are nowhere"]
    if record.backend.mapping:
        return []
    findings = []
    alias = write_alias(record.backend.index)
    if client.call("GET", f"/{index}/_alias/{quote(alias)}", missing_is_none=True) is None:
        findings.append(f"alias {alias!r} is missing: nothing can be written")
    client.call("POST", f"/{index}/_refresh")
    documents, vectors = reader.count(), reader.vector_count()
    if record.bi_encoder is not None and vectors != documents:
        findings.append(f"{documents - vectors} of {documents} documents have no vector")
    return findings
