"""Who may compute now: the slots that the batchers of all models on this machine share."""

from __future__ import annotations

import asyncio
from typing import Protocol

Urgency = tuple[int, int, float]  # request class, stage, virtual time; the least comes first


class Contender(Protocol):
    """A batcher, as lanes see it."""

    def urgency(self) -> Urgency | None:
        """Of its best waiting work; None if it has none, or may not start more."""

    def start(self) -> bool:
        """Starts a batch, which holds a slot from then on; False if it dropped work instead."""


class Lanes:
    """`slots` batches at a time over all models that compute on the same cores. One event loop.

    A free slot goes to the batcher whose best waiting work comes first, and is given to a batch
    only then: until that moment everything that waits may still be overtaken or leave.
    """

    def __init__(self, slots: int) -> None:
        self.slots = max(1, slots)
        self.busy = 0
        self.contenders: list[Contender] = []
        self._woken: asyncio.Handle | None = None

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self.slots - self.busy

    def attach(self, contender: Contender) -> None:
        """One more batcher."""
        self.contenders.append(contender)

    def detach(self, contender: Contender) -> None:
        """One less."""
        self.contenders.remove(contender)

    def wake(self) -> None:
        """New work waits: slots are dealt once the callbacks that are due now have run, so that
        what is submitted in one turn of the loop is seen together."""
        if self._woken is None:
            self._woken = asyncio.get_running_loop().call_soon(self.deal)

    def hold(self) -> None:
        """A batch takes a slot."""
        self.busy += 1

    def release(self) -> None:
        """A batch gives its slot back; `deal` next."""
        self.busy -= 1

    def deal(self) -> None:
        """Gives the free slots away."""
        if self._woken is not None:
            self._woken.cancel()
            self._woken = None
        while self.free > 0:
            waiting = [
                (urgency, number)
                for number, contender in enumerate(self.contenders)
                if (urgency := contender.urgency()) is not None
            ]
            if not waiting:
                return
            self.contenders[min(waiting)[1]].start()
