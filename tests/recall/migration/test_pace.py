"""How a follower gives way."""

from __future__ import annotations

from sidecar.models.foreground import Foreground
from sidecar.recall.migration.pace import BUSY_DOCUMENTS, IDLE_DOCUMENTS, Pace


class Clock:
    """Time passes while one rests."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def rest(self, seconds: float) -> None:
        self.seconds += seconds


def test_small_chunks_while_searches_come():
    clock = Clock()
    requests = Foreground(clock.now)
    pace = Pace(0, requests, clock.now, clock.rest)
    assert pace.begin(lambda: None) == IDLE_DOCUMENTS
    with requests.answering():
        assert pace.begin(lambda: None) == BUSY_DOCUMENTS
    assert pace.begin(lambda: None, 4) == 4 * BUSY_DOCUMENTS
    clock.rest(60.0)
    assert pace.begin(lambda: None) == IDLE_DOCUMENTS


def test_no_more_documents_a_second_than_were_asked_for():
    clock, looks = Clock(), 0

    def look() -> None:
        nonlocal looks
        looks += 1

    pace = Pace(50, Foreground(clock.now), clock.now, clock.rest)
    began, documents = clock.seconds, 0
    while documents < 500:
        count = pace.begin(look)
        clock.rest(0.1)
        pace.end(count)
        documents += count
    pace.begin(look)
    assert clock.seconds - began >= 500 / 50 - 1e-6
    assert clock.seconds - began <= 500 / 50 + 0.2
    assert looks >= 10
