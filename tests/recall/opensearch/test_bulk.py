"""Bulk requests are of bounded size, whatever a batch holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.recall.opensearch import bulk
from sidecar.recall.opensearch.bulk import BulkWriter, Change
from sidecar.recall.opensearch.sequences import Sequences

AHEAD = 10**12


class Cluster:
    """Takes every document, but those `late` once, which it has under a number AHEAD."""

    def __init__(self, *late: str) -> None:
        self.requests: list[list[str]] = []
        self._late = set(late)

    def call(self, method: str, path: str, lines: list[str], seconds: float) -> Any:
        self.requests.append(lines)
        items = [self._outcome(json.loads(line)["index"]) for line in lines[::2]]
        return {"errors": any("error" in each["index"] for each in items), "items": items}

    def _outcome(self, action: dict[str, Any]) -> dict[str, Any]:
        if action["_id"] not in self._late:
            return {"index": {"_id": action["_id"], "status": 200}}
        self._late.remove(action["_id"])
        reason = f"current version [{action['version'] + AHEAD}] is higher"
        error = {"type": "version_conflict", "reason": reason}
        return {"index": {"_id": action["_id"], "status": 409, "error": error}}

    @property
    def sizes(self) -> list[int]:
        return [sum(map(len, lines)) for lines in self.requests]

    @property
    def ids(self) -> list[str]:
        return [json.loads(line)["index"]["_id"] for each in self.requests for line in each[::2]]


def changes(count: int, length: int) -> list[Change]:
    return [(f"d{n}", lambda number: {"text": "x" * length, "n": number}) for n in range(count)]


def written(cluster: Cluster, batch: list[Change]) -> list[int]:
    return BulkWriter(cluster, "shop", Sequences()).write(batch)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_BYTES", 1000)


def test_a_large_batch_is_sent_in_parts_that_are_as_large_as_may_be():
    cluster = Cluster()
    numbers = written(cluster, changes(20, 150))
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    assert cluster.ids == [f"d{n}" for n in range(20)]
    assert max(cluster.sizes) <= 1000
    pair = cluster.sizes[0] / (len(cluster.requests[0]) / 2)
    assert min(cluster.sizes[:-1]) > 1000 - 1.1 * pair


def test_a_document_that_is_too_large_alone_is_sent_alone():
    cluster = Cluster()
    written(cluster, [*changes(2, 10), ("big", lambda number: {"text": "x" * 5000})])
    assert [len(lines) for lines in cluster.requests] == [4, 2]


def test_one_that_came_late_is_found_in_whichever_part_it_is():
    cluster = Cluster("d1", "d13")
    numbers = written(cluster, changes(20, 150))
    assert cluster.ids[-2:] == ["d1", "d13"]
    others = [number for place, number in enumerate(numbers) if place not in (1, 13)]
    assert min(numbers[1], numbers[13]) > max(others) + AHEAD - 20
