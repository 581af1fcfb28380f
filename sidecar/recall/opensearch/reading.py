"""Documents read by id, and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sidecar.errors import BackendError, BackendUnavailableError
from sidecar.recall.opensearch.answers import check_whole
from sidecar.recall.opensearch.client import Client
from sidecar.recall.opensearch.index import DOC_ID, SEQUENCE, Stored
from sidecar.recall.opensearch.layout import Layout
from sidecar.types import Document

MOST_IDS = 500


class Reader:
    """Of one index. What it raises: BackendError, BackendUnavailableError."""

    def __init__(self, client: Client, index: str, layout: Layout) -> None:
        self._client = client
        self._index = index
        self._path = f"/{quote(index)}"
        self._layout = layout

    def stored(
        self, doc_ids: Sequence[str], parts: Sequence[str], as_searched: bool
    ) -> dict[str, Document]:
        """The documents that are stored, by id, each with some parts (layout.py): as they were last
        written, or as they were when they last became searchable."""
        kept = self.kept(doc_ids, parts, as_searched).values()
        return {each.doc_id: each.document for each in kept if each.document is not None}

    def kept(
        self, doc_ids: Sequence[str], parts: Sequence[str], as_searched: bool = False
    ) -> dict[str, Stored]:
        """The same with tombstones."""
        unique = list(dict.fromkeys(doc_ids))
        found: dict[str, Stored] = {}
        for start in range(0, len(unique), MOST_IDS):
            found |= self._kept(unique[start : start + MOST_IDS], parts, as_searched)
        return found

    def _kept(
        self, doc_ids: Sequence[str], parts: Sequence[str], as_searched: bool
    ) -> dict[str, Stored]:
        source: object = {"includes": self._layout.sources(parts)}
        wanted = [{"_id": doc_id, "_source": source} for doc_id in doc_ids]
        realtime = "false" if as_searched else "true"
        answer = self._client.call(
            "POST", f"{self._path}/_mget?realtime={realtime}", {"docs": wanted}
        )
        found = {}
        for each in answer["docs"]:
            if "error" in each:
                raise BackendUnavailableError(
                    f"index {self._index!r}: document {each['_id'][:80]!r} cannot be read: "
                    f"{each['error']['type']}: {each['error']['reason']}"
                )
            if each["found"]:
                found[each["_id"]] = self._layout.read(each["_id"], each.get("_source", {}))
        return found

    def search(self, body: Mapping[str, Any], timeout_seconds: float | None = None) -> Any:
        """A search of all shards, counted whole or not at all."""
        answer = self._client.call("POST", f"{self._path}/_search", body, timeout_seconds)
        check_whole(answer, f"index {self._index!r}")
        return answer

    def count(self, timeout_seconds: float | None = None) -> int:
        """Documents that are searchable."""
        query = {"query": self._layout.living}
        answer = self._client.call("POST", f"{self._path}/_count", query, timeout_seconds)
        check_whole(answer, f"index {self._index!r}")
        count: int = answer["count"]
        return count

    def vector_count(self) -> int:
        """Searchable documents that have a vector."""
        field = self._layout.vector_field
        if field is None:
            return 0
        wanted = {"filter": [self._layout.living, {"exists": {"field": field}}]}
        body = {"query": {"bool": wanted}, "size": 0, "track_total_hits": True}
        count: int = self.search(body)["hits"]["total"]["value"]
        return count

    def last_sequence(self) -> int:
        """The highest that a document or tombstone has; 0 if there is none."""
        last = self.search({"size": 1, "sort": [{SEQUENCE: "desc"}], "_source": [DOC_ID, SEQUENCE]})
        hits = last["hits"]["hits"]
        return int(hits[0]["_source"][SEQUENCE]) if hits else 0

    def disk_bytes(self) -> int:
        """Of all shards and their copies."""
        answer = self._client.call("GET", f"{self._path}/_stats/store")
        size: int = answer["_all"]["total"]["store"]["size_in_bytes"]
        return size


def missing(index: str) -> BackendError:
    """An index that was there."""
    return BackendError(
        f"index {index!r} is not there any more: restore it from a snapshot of the cluster, or "
        "drop the collection"
    )
