"""Encoding in the background gives way: small chunks, in batches between requests that come."""

from __future__ import annotations

import threading

from sidecar.models.foreground import Foreground
from sidecar.recall.embedded import encoding_turns as turns_module
from sidecar.recall.embedded.encoding_turns import Turns


class Requests(Foreground):
    """Those of a machine in another time; while it is crowded they never end."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(lambda: machine.now)
        self._machine = machine
        self.is_crowded = False
        self.waits: list[float] = []

    def come(self) -> None:
        """One, answered at once."""
        with self.answering():
            pass

    def wait_quiet(self, seconds: float) -> bool:
        if self.is_crowded:
            self.waits.append(seconds)
            self._machine.now += seconds
        return not self.is_crowded


class Machine:
    """A clock, and a model that takes a while for each document."""

    def __init__(self, seconds_a_document: float) -> None:
        self.now = 100.0
        self.seconds_a_document = seconds_a_document
        self.chunks: list[int] = []
        self.batches: list[int] = []
        self.requests = Requests(self)
        self.turns = Turns(lambda: self.now, self.requests)

    def encode(self, limit: int) -> int:
        self.chunks.append(limit)
        self.batches = []
        for batch in self.turns.in_batches(range(limit)):
            self.batches.append(len(batch))
            self.now += len(batch) * self.seconds_a_document
        return limit


def test_an_idle_machine_is_used_whole():
    machine = Machine(0.01)
    for _ in range(5):
        machine.turns.take(machine.encode)
    assert machine.chunks[1:] == [50] * 4
    assert machine.batches == [10] * 5
    assert abs(machine.now - 100.0 - 0.01 * sum(machine.chunks)) < 1e-9


def test_while_requests_come_chunks_and_batches_are_short():
    machine = Machine(0.005)
    for _ in range(5):
        machine.requests.come()
        machine.turns.take(machine.encode)
    assert machine.chunks[1:] == [20] * 4
    assert machine.batches == [2] * 10
    machine.now += turns_module.BUSY_SECONDS
    machine.turns.take(machine.encode)
    assert machine.chunks[-1] == 100


def test_a_request_that_comes_within_a_chunk_shortens_its_batches():
    machine = Machine(0.01)
    machine.turns.take(machine.encode)
    batches = machine.turns.in_batches(range(30))
    assert len(next(batches)) == 10
    machine.requests.come()
    assert [len(batch) for batch in batches] == [1] * 20


def test_requests_that_never_end_leave_it_a_share():
    machine = Machine(0.01)
    machine.turns.take(machine.encode)
    machine.requests.come()
    machine.requests.is_crowded = True
    started, chunks = machine.now, len(machine.chunks)
    for _ in range(10):
        machine.turns.take(machine.encode)
    encoding = 0.01 * sum(machine.chunks[chunks:])
    assert abs(encoding / (machine.now - started) - 1 / (1 + turns_module.WAITS)) < 0.01


def test_waiting_is_bounded_and_teaches_nothing():
    machine = Machine(0.9)
    machine.turns.take(machine.encode)
    machine.requests.is_crowded = True
    machine.turns.take(machine.encode)
    assert max(machine.requests.waits) == turns_module.MAX_WAIT_SECONDS
    machine.requests.is_crowded = False
    machine.seconds_a_document = 0.01
    machine.turns.take(machine.encode)
    machine.turns.take(machine.encode)
    assert machine.chunks[-1] == 50


def test_chunks_have_bounds():
    slow, fast = Machine(5.0), Machine(1e-9)
    for machine in (slow, fast):
        for _ in range(2):
            machine.turns.take(machine.encode)
    assert slow.chunks[-1] == 1
    assert fast.chunks[-1] == turns_module.MAX_CHUNK_DOCUMENTS


def test_nothing_encoded_teaches_nothing():
    machine = Machine(0.01)
    machine.turns.take(machine.encode)
    machine.turns.take(lambda limit: 0)
    machine.now += 10.0
    machine.turns.take(machine.encode)
    assert machine.chunks[-1] == 50


def test_one_at_a_time_and_a_failure_gives_the_turn_back():
    turns = Turns()
    inside, most, lock = [0], [0], threading.Lock()

    def encode(limit: int) -> int:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with lock:
            inside[0] -= 1
        raise RuntimeError("made to fail")

    def take() -> None:
        for _ in range(50):
            try:
                turns.take(encode)
            except RuntimeError:
                continue

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
