"""What is to be done for an index now and then, and what can be found wrong with it."""

from __future__ import annotations

import logging
import time
from urllib.parse import quote

from sidecar.errors import BackendError, SidecarError
from sidecar.recall.opensearch import creation
from sidecar.recall.opensearch.client import Client
from sidecar.recall.opensearch.index import DELETED, SEQUENCE, write_alias
from sidecar.recall.opensearch.reading import Reader
from sidecar.recall.remote import RemoteRecord

# A write that was broken off so long ago does not come any more.
TOMBSTONE_HOURS = 24.0
PURGE_SECONDS = 3600.0

_log = logging.getLogger(__name__)


class Tombstones:
    """Removes those that are old, when a deletion comes and an hour has passed since the last."""

    def __init__(self, client: Client, index: str) -> None:
        self._client = client
        self._path = f"/{quote(index)}"
        self._next = 0.0

    def purge_if_due(self) -> None:
        """Has OpenSearch begin, which goes on by itself; what keeps it from that is logged."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PURGE_SECONDS
        try:
            self._purge()
        except SidecarError as error:
            _log.warning("old tombstones are not removed now: %s", error)

    def _purge(self) -> None:
        before = time.time_ns() // 1000 - int(TOMBSTONE_HOURS * 3600 * 1_000_000)
        old = [{"term": {DELETED: True}}, {"range": {SEQUENCE: {"lt": before}}}]
        query = {"query": {"bool": {"filter": old}}}
        if self._client.call("POST", f"{self._path}/_count", query)["count"]:
            path = f"{self._path}/_delete_by_query?conflicts=proceed&wait_for_completion=false"
            self._client.call("POST", path, query)


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
