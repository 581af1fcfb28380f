"""Who may compute now: the slots that the batchers of all models on this machine share."""

from __future__ import annotations

import asyncio
from typing import Protocol

Urgency = tuple[int, int, float]  # request class, stage, virtual time; the least comes first


class Contender(Protocol):
    """A batcher, as lanes see it."""

    def urgency(self) -> Urgency | None:
        """Of its best waiting work; None if it has none, or may not start more."""

    def slots_wanted(self) -> int:
        """Slots that its next batch will hold."""

    def start(self) -> bool:
        """Starts a batch, which holds its slots from then on; False if it dropped work instead."""


class Lanes:
    """Slots that stand for the cores that several models compute on. One event loop.

    Of a model that runs k batches side by side at its best, a batch takes a k-th of the slots. Free
    ones go to the batcher whose best waiting work comes first (and wait for it if it needs more
    than are free), and only when it starts: until that moment everything that waits may still be
    overtaken or leave.
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

    def slots_of_batch(self, side_by_side: int) -> int:
        """Slots of one batch of a model that runs so many side by side."""
        return max(1, self.slots // max(1, side_by_side))

    def widen(self, side_by_side: int) -> None:
        """A model comes that runs so many batches side by side: as many slots at least."""
        self.slots = max(self.slots, side_by_side)

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

    def hold(self, slots: int) -> None:
        """A batch takes slots."""
        self.busy += slots

    def release(self, slots: int) -> None:
        """A batch gives its slots back; `deal` next."""
        self.busy -= slots

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
            first = self.contenders[min(waiting)[1]]
            if first.slots_wanted() > self.free:
                return
            first.start()
