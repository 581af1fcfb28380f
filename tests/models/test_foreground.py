"""Who waits for requests to end is told at that moment, and waits no longer than it said."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from sidecar.models.foreground import Foreground, foreground

WAIT_SECONDS = 30.0


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_requests_it_is_quiet() -> None:
    requests = Foreground()
    assert requests.wait_quiet(0.0)
    assert asyncio.run(requests.quiet(WAIT_SECONDS))
    assert requests.was_quiet_for(1e9)


def test_the_last_request_tells_all_who_wait() -> None:
    requests, found = Foreground(), []
    with contextlib.ExitStack() as first, requests.answering():
        first.enter_context(requests.answering())
        waiting = [
            threading.Thread(target=lambda: found.append(requests.wait_quiet(WAIT_SECONDS)))
            for _ in range(3)
        ]
        for thread in waiting:
            thread.start()
        first.close()
        assert not requests.wait_quiet(0.0)
        assert found == []
    for thread in waiting:
        thread.join(WAIT_SECONDS)
    assert found == [True] * 3


def test_it_waits_no_longer_than_it_said() -> None:
    requests = Foreground()
    with requests.answering():
        assert not requests.wait_quiet(0.001)
        assert not asyncio.run(requests.quiet(0.001))
    assert requests.wait_quiet(0.0)


def test_an_event_loop_goes_on_while_it_waits() -> None:
    async def main() -> bool:
        requests = Foreground()
        with requests.answering():
            waiting = asyncio.create_task(requests.quiet(WAIT_SECONDS))
            await asyncio.sleep(0)
            assert not waiting.done()
        return await waiting

    assert asyncio.run(main())


def test_a_request_that_failed_is_answered() -> None:
    requests = Foreground()
    with contextlib.suppress(RuntimeError), requests.answering():
        raise RuntimeError("made to fail")
    assert requests.wait_quiet(0.0)


def test_it_knows_for_how_long_it_has_been_quiet() -> None:
    clock = Clock()
    requests = Foreground(clock)
    with requests.answering():
        assert not requests.was_quiet_for(0.0)
        clock.now += 10.0
    assert requests.was_quiet_for(0.0)
    assert not requests.was_quiet_for(1.0)
    clock.now += 1.0
    assert requests.was_quiet_for(1.0)


def test_there_is_one_of_a_process() -> None:
    assert foreground() is foreground()
