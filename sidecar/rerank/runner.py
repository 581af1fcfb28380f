"""Batches under way: given to the model, watched, cancelled, and what became of each."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sidecar.errors import ModelError, ModelUnavailableError
from sidecar.models.base import CrossEncoder, ScorablePair
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.pace import Pace
from sidecar.rerank.work import Batch

STALLED_SECONDS = 1.0  # a batch is stalled that takes longer than this,
STALLED_TIMES_EXPECTED = 10.0  # and so many times what was expected of it
PROBE_SECONDS = 10.0  # the same for a probe of a model that is not asked: nobody waits for it


class Outcomes(Protocol):
    """Who is told, once for each batch, what became of it; its slots are free by then."""

    def scored(self, batch: Batch, scores: list[float], seconds: float) -> None:
        """It came back; a score may be NaN or infinite."""

    def failed(self, batch: Batch, error: BaseException) -> None:
        """The model failed on it."""

    def lost(self, batch: Batch, error: ModelUnavailableError) -> None:
        """The model could not be asked."""

    def stalled(self, batch: Batch, cause: str) -> None:
        """It did not come back for far too long. Should it ever, nothing is said."""

    def cancelled(self, batch: Batch, came_back: bool) -> None:
        """It was cancelled; had it come back all the same?"""


class Runner:
    """The batches that one model is computing; each but a probe holds slots of the lanes."""

    def __init__(self, encoder: CrossEncoder, lanes: Lanes, pace: Pace, outcomes: Outcomes) -> None:
        self.running: dict[Batch, None] = {}
        self._encoder = encoder
        self._lanes = lanes
        self._pace = pace
        self._outcomes = outcomes

    def launch(self, batch: Batch, least_patience: float = STALLED_SECONDS) -> None:
        """Gives a batch to the model."""
        loop = asyncio.get_running_loop()
        longest = max(work.length for work in batch.works)
        batch.padded = longest * len(batch.works) if self._encoder.feed.pads else batch.tokens
        batch.expected = batch.padded * self._pace.seconds_per_padded_token
        batch.started = loop.time()
        if not batch.is_probe:
            batch.slots = self._lanes.slots_of_batch(self._encoder.feed.side_by_side)
            self._lanes.hold(batch.slots)
        self.running[batch] = None
        batch.task = loop.create_task(self._score([work.pair for work in batch.works]))
        batch.task.add_done_callback(functools.partial(self._ended, batch))
        self._watch(batch, max(least_patience, STALLED_TIMES_EXPECTED * batch.expected))

    def cancel(self, batch: Batch) -> None:
        """Tells the model that a batch is not wanted any more."""
        batch.cancelled = True
        if batch.task is not None:
            batch.task.cancel()

    async def _score(self, pairs: Sequence[ScorablePair]) -> list[float]:
        scores = np.asarray(await self._encoder.score(pairs), dtype=np.float32)
        if scores.shape != (len(pairs),):
            raise ModelError(
                f"{self._encoder.contract.name} returned scores {scores.shape} for {len(pairs)} "
                "pairs: it must return one a pair"
            )
        found: list[float] = scores.tolist()
        return found

    def _ended(self, batch: Batch, task: asyncio.Task[list[float]]) -> None:
        del self.running[batch]
        self._free_slots(batch)
        error = self._error_of(task)
        if batch.stalled:
            self._lanes.deal()  # it has held no slot, but one of the model's own places
        elif batch.cancelled:
            self._outcomes.cancelled(batch, error is None)
        elif error is None:
            seconds = asyncio.get_running_loop().time() - batch.started
            self._outcomes.scored(batch, task.result(), seconds)
        elif isinstance(error, ModelUnavailableError):
            self._outcomes.lost(batch, error)
        else:
            self._outcomes.failed(batch, error)
        batch.works.clear()  # they refer to it: nothing is to be left for the garbage collector

    def _error_of(self, task: asyncio.Task[list[float]]) -> BaseException | None:
        if task.cancelled():
            return ModelUnavailableError(f"{self._encoder.contract.name} gave a batch up")
        return task.exception()

    def _watch(self, batch: Batch, patience: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + patience
        batch.stall = loop.call_at(due, self._overdue, batch, patience, due)

    def _overdue(self, batch: Batch, patience: float, due: float) -> None:
        if asyncio.get_running_loop().time() > due + patience / 2:
            self._watch(batch, patience)  # it was this loop that was held up
            return
        batch.stalled = True
        self._free_slots(batch)
        if batch.task is not None:
            batch.task.cancel()
        self._outcomes.stalled(batch, f"a batch did not come back within {patience:.1f} s")

    def _free_slots(self, batch: Batch) -> None:
        if batch.stall is not None:
            batch.stall.cancel()
            batch.stall = None
        slots, batch.slots = batch.slots, 0
        self._lanes.release(slots)
