"""The lock that searches share and a change excludes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from sidecar.recall.embedded.locks import SharedLock

SECONDS = 30.0


def test_shared_holders_are_together():
    lock, together = SharedLock(), threading.Barrier(3)

    def share() -> None:
        with lock.shared():
            together.wait(SECONDS)

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(share) for _ in range(3)]:
            future.result(SECONDS)


def test_an_exclusive_holder_is_alone():
    lock, value, torn = SharedLock(), [0, 0], []

    def change() -> None:
        for _ in range(300):
            with lock.exclusive():
                value[0] += 1
                value[1] += 1

    def look() -> None:
        for _ in range(300):
            with lock.shared():
                if value[0] != value[1]:
                    torn.append(tuple(value))

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(each) for each in (change, look, look, change, look, look)]:
            future.result(SECONDS)
    assert value == [600, 600]
    assert torn == []


def test_a_waiting_exclusive_goes_before_later_shared_ones():
    lock, order = SharedLock(), []
    held, waits, release = threading.Event(), threading.Event(), threading.Event()

    class Telling(threading.Condition):
        def wait_for(self, predicate, timeout=None):
            if not predicate():
                waits.set()
            return super().wait_for(predicate, timeout)

    lock._condition = Telling()

    def first() -> None:
        with lock.shared():
            held.set()
            release.wait(SECONDS)

    def change() -> None:
        with lock.exclusive():
            order.append("exclusive")

    def later() -> None:
        with lock.shared():
            order.append("shared")

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(first)]
        held.wait(SECONDS)
        futures.append(pool.submit(change))
        waits.wait(SECONDS)
        futures.append(pool.submit(later))
        release.set()
        for future in futures:
            future.result(SECONDS)
    assert order == ["exclusive", "shared"]


def test_a_failure_inside_gives_the_lock_back():
    lock = SharedLock()
    for block in (lock.shared, lock.exclusive):
        try:
            with block():
                raise RuntimeError
        except RuntimeError:
            pass
    with lock.exclusive():
        pass
