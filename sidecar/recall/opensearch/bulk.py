"""Writes in bulk: each document under its sequence number as version, so that it may be sent again
and again, and an older write never replaces a newer one.

A write that meets a newer document was not acknowledged before that one was, so it is the last of
the two: it is sent again under a new number. OpenSearch has no transactions: of a batch that fails,
some documents may be written, and the caller is told so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sidecar.errors import BackendError, BackendUnavailableError, OverloadedError
from sidecar.recall.opensearch.client import Client
from sidecar.recall.opensearch.index import write_alias
from sidecar.recall.opensearch.sequences import Sequences

# Well below http.max_content_length (100 MB).
MOST_BYTES = 16 << 20
# Of documents that somebody else writes at the same moment, too.
MOST_ATTEMPTS = 5
WRITE_SECONDS = 60.0
# For a shard that is nowhere to come back.
SHARD_SECONDS = 5
_CONFLICT, _FULL = 409, 429
_CURRENT = re.compile(r"current version \[(\d+)\]")

# (doc_id, what is kept under a sequence number)
Change = tuple[str, Callable[[int], Any]]


class BulkWriter:
    """Of one index."""

    def __init__(self, client: Client, index: str, sequences: Sequences) -> None:
        self._client = client
        self._path = (
            f"/{quote(write_alias(index))}/_bulk?require_alias=true&timeout={SHARD_SECONDS}s"
        )
        self._index = index
        self._sequences = sequences

    def write(self, changes: Sequence[Change], refresh: bool = False) -> list[int]:
        """The sequence numbers under which all are durable; with `refresh` all are searchable.

        Raises BackendError, BackendUnavailableError, OverloadedError: then some may be written.
        """
        given = [0] * len(changes)
        left = list(range(len(changes)))
        for _ in range(MOST_ATTEMPTS):
            numbers, written = self._sequences.take(len(left)), False
            try:
                late = self._send([changes[place] for place in left], numbers, refresh)
                written = True
            finally:
                self._sequences.end(numbers, written)
            for place, number in zip(left, numbers, strict=True):
                given[place] = number
            left = [left[place] for place in late]
            if not left:
                return given
        raise BackendUnavailableError(
            f"index {self._index!r}: document {changes[left[0]][0][:80]!r} is being written by "
            "others all the time: send the batch again"
        )

    def _send(self, changes: Sequence[Change], numbers: Sequence[int], refresh: bool) -> list[int]:
        """Writes all; returns the places of those that met a newer document."""
        path = self._path + ("&refresh=true" if refresh else "")
        late: list[int] = []
        for start, lines in _parts(changes, numbers):
            answer = self._client.call("POST", path, lines, WRITE_SECONDS)
            if answer["errors"]:
                late += [start + place for place in self._late(answer["items"])]
        return late

    def _late(self, items: Sequence[Mapping[str, Any]]) -> list[int]:
        late, failures = [], []
        for place, item in enumerate(items):
            (outcome,) = item.values()
            if outcome["status"] == _CONFLICT:
                self._sequences.raise_to(_current_version(outcome["error"]))
                late.append(place)
            elif outcome["status"] >= 300:
                failures.append(outcome)
        if failures:
            raise _failed(self._index, failures, len(items))
        return late


def _parts(changes: Sequence[Change], numbers: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    """Lines of bulk requests of bounded size, and the place of each one's first change."""
    start, size = 0, 0
    lines: list[str] = []
    for place, ((doc_id, to_source), number) in enumerate(zip(changes, numbers, strict=True)):
        action = {"_id": doc_id, "version": number, "version_type": "external_gte"}
        pair = [_to_line({"index": action}), _to_line(to_source(number))]
        length = sum(map(len, pair))
        if lines and size + length > MOST_BYTES:
            yield start, lines
            start, size, lines = place, 0, []
        lines += pair
        size += length
    yield start, lines


def _to_line(tree: object) -> str:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def _current_version(error: Mapping[str, Any]) -> int:
    found = _CURRENT.search(error.get("reason", ""))
    return int(found[1]) if found else 0


def _failed(index: str, failures: Sequence[Mapping[str, Any]], count: int) -> Exception:
    first = failures[0]
    error = first["error"]
    message = (
        f"index {index!r} refused {len(failures)} of {count} documents, {first['_id'][:80]!r} with "
        f"{error['type']}: {error['reason']}. Others of the batch may be written: send it again"
    )
    if any(each["status"] == _FULL for each in failures):
        return OverloadedError(message, 1.0)
    if all(each["status"] in (500, 502, 503, 504) for each in failures):
        return BackendUnavailableError(message)
    return BackendError(message)
