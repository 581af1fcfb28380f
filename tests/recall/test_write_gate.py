"""Writes of a collection that another server keeps wait while they are held, then go elsewhere."""

from __future__ import annotations

import threading

import pytest
from recalling import WAIT_SECONDS

from sidecar.recall.write_gate import WriteGate


class Successor:
    """Another collection."""


def test_what_is_under_way_is_finished_what_comes_waits_and_goes_elsewhere():
    gate, successor, order = WriteGate(), Successor(), list[object]()
    is_under_way, may_end, is_held = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with gate.passing() as elsewhere:
            is_under_way.set()
            assert may_end.wait(WAIT_SECONDS)
            order.append(("first", elsewhere))

    def hold() -> None:
        with gate.held():
            order.append("held")
            is_held.set()
            later.start()
            gate.hand_over(successor)  # type: ignore[arg-type]
            order.append("handed over")

    def write_later() -> None:
        with gate.passing() as elsewhere:
            order.append(("later", elsewhere))

    later = threading.Thread(target=write_later)
    threads = [threading.Thread(target=first), threading.Thread(target=hold)]
    threads[0].start()
    assert is_under_way.wait(WAIT_SECONDS)
    threads[1].start()
    assert not is_held.is_set()
    may_end.set()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    later.join(WAIT_SECONDS)
    assert order == [("first", None), "held", "handed over", ("later", successor)]


def test_writes_go_on_after_what_failed():
    gate = WriteGate()
    with pytest.raises(ZeroDivisionError), gate.held():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), gate.passing():
        raise ZeroDivisionError
    with gate.held():
        pass
    with gate.passing() as successor:
        assert successor is None
