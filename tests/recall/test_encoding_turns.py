"""Encoding in the background gives way: small chunks and rests while searches come."""

from __future__ import annotations

import threading

from sidecar.recall import encoding_turns as turns_module
from sidecar.recall.encoding_turns import Turns


class Machine:
    """A clock, and a model that takes a while for each document."""

    def __init__(self, seconds_a_document: float) -> None:
        self.now = 100.0
        self.seconds_a_document = seconds_a_document
        self.chunks: list[int] = []
        self.rests: list[float] = []
        self.turns = Turns(lambda: self.now)

    def encode(self, limit: int) -> int:
        self.chunks.append(limit)
        self.now += limit * self.seconds_a_document
        return limit

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


def test_an_idle_machine_is_used_whole():
    machine = Machine(0.01)
    for _ in range(5):
        machine.turns.take(machine.encode, machine.rest)
    assert machine.chunks[1:] == [50] * 4
    assert machine.rests == []


def test_while_searches_come_chunks_are_short_and_rests_long():
    machine = Machine(0.01)
    for _ in range(5):
        machine.turns.requested()
        machine.turns.take(machine.encode, machine.rest)
    assert machine.chunks[1:] == [10] * 4
    share = 0.1 / (0.1 + machine.rests[-1])
    assert abs(share - 1 / (1 + turns_module.RESTS)) < 1e-9
    machine.now += turns_module.BUSY_SECONDS
    machine.turns.take(machine.encode, machine.rest)
    assert len(machine.rests) == 5


def test_chunks_have_bounds():
    slow, fast = Machine(5.0), Machine(1e-9)
    for machine in (slow, fast):
        for _ in range(2):
            machine.turns.take(machine.encode, machine.rest)
    slow.turns.requested()
    slow.turns.take(slow.encode, slow.rest)
    assert (slow.chunks[-1], slow.rests) == (1, [])
    slow = Machine(0.9)
    slow.turns.requested()
    slow.turns.take(slow.encode, slow.rest)
    assert (slow.chunks[-1], slow.rests) == (1, [turns_module.MAX_REST_SECONDS])
    assert fast.chunks[-1] == turns_module.MAX_CHUNK_DOCUMENTS


def test_nothing_encoded_teaches_nothing():
    machine = Machine(0.01)
    machine.turns.take(machine.encode, machine.rest)
    machine.turns.requested()
    machine.turns.take(lambda limit: 0, machine.rest)
    assert machine.rests == []
    machine.now += 10.0
    machine.turns.take(machine.encode, machine.rest)
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
                turns.take(encode, lambda seconds: None)
            except RuntimeError:
                continue

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
