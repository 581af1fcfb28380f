"""Both legs of recall side by side, within their share of the time until the deadline.

A leg that has not answered by then is left out if the other one has: half of a recall and time to
rerank it are worth more than an error. Where the other has nothing to give, it is waited for until
the deadline itself. A leg that is left out computes on in its thread; nobody waits for it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from sidecar.errors import BackendUnavailableError, DeadlineError, ModelError, StorageError
from sidecar.models.base import BiEncoder
from sidecar.pipeline.deadline import Deadline
from sidecar.recall.base import Leg
from sidecar.types import Stage, StageReason, StageReport, StageState


@dataclass(frozen=True, slots=True)
class TimedLeg:
    """A leg's answer and the milliseconds that it was waited for."""

    leg: Leg
    milliseconds: float


class Legs:
    """Runs legs in the threads of `executor`; `share`: of the time until the deadline, 0 to 1."""

    def __init__(self, executor: Executor, share: float) -> None:
        self._executor = executor
        self._share = share

    async def recall(
        self, lexical: Callable[[], Leg], dense: Callable[[], Leg], deadline: Deadline
    ) -> tuple[TimedLeg, TimedLeg]:
        """What both answer.

        Raises DeadlineError if neither did in time. If a leg failed and none has searched:
        BackendUnavailableError if it may be asked again, else StorageError, or ModelError where
        only models failed. And what a leg raises that is neither its model's failure nor its
        index's.
        """
        started, left = time.perf_counter(), deadline.remaining()
        tasks = [asyncio.ensure_future(self._timed(each)) for each in (lexical, dense)]
        try:
            await _until_all(tasks, left * self._share)
            while not _answered(tasks) and any(not task.done() for task in tasks):
                if not await _until_one_more(tasks, deadline.remaining()):
                    raise DeadlineError("the deadline passed before recall was done: allow more")
        finally:
            _end(tasks)
        late = _left_out(time.perf_counter() - started, left)
        one, other = (task.result() if task.done() else late for task in tasks)
        _check_one_answered(one.leg, other.leg)
        return one, other

    async def _timed(self, call: Callable[[], Leg]) -> TimedLeg:
        """A failure of the leg's own becomes its reason."""
        started = time.perf_counter()
        try:
            leg = await asyncio.get_running_loop().run_in_executor(self._executor, call)
        except ModelError as error:
            leg = Leg((), reason=StageReason.MODEL_FAILED, detail=error.message)
        except StorageError as error:
            leg = Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=error.message)
        return TimedLeg(leg, (time.perf_counter() - started) * 1000.0)


Tasks = Sequence[asyncio.Future[TimedLeg]]
_HAS_SEARCHED = (StageReason.NONE, StageReason.SHARDS_MISSING)


async def _until_all(tasks: Tasks, seconds: float) -> None:
    """Or one raises."""
    await asyncio.wait(tasks, timeout=_finite(seconds), return_when=asyncio.FIRST_EXCEPTION)
    _raise_any(tasks)


async def _until_one_more(tasks: Tasks, seconds: float) -> bool:
    """Whether there was one in time."""
    open_tasks = [task for task in tasks if not task.done()]
    done, _ = await asyncio.wait(
        open_tasks, timeout=_finite(seconds), return_when=asyncio.FIRST_COMPLETED
    )
    _raise_any(tasks)
    return bool(done)


def _raise_any(tasks: Tasks) -> None:
    for task in tasks:
        if task.done():
            task.result()


def _end(tasks: Tasks) -> None:
    """Nobody asks any more for what is still to come, nor for the second of two errors."""
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()
        task.cancel()


def _answered(tasks: Tasks) -> bool:
    """Whether one of them has searched, and may be left to answer alone."""
    return any(task.done() and task.result().leg.reason in _HAS_SEARCHED for task in tasks)


def _left_out(waited: float, left: float) -> TimedLeg:
    detail = f"had not answered after {waited * 1000.0:.0f} of {left * 1000.0:.0f} ms"
    return TimedLeg(Leg((), reason=StageReason.DEADLINE, detail=detail), waited * 1000.0)


def _check_one_answered(*legs: Leg) -> None:
    """A leg that was skipped is no answer beside one that failed: nobody has looked."""
    failures = [leg for leg in legs if leg.reason.is_failure]
    if not failures or any(leg.reason in _HAS_SEARCHED for leg in legs):
        return
    message = "no leg of recall could answer: " + "; ".join(
        leg.detail or leg.reason.name for leg in legs
    )
    retries = [leg.retry_seconds for leg in failures if leg.retry_seconds is not None]
    if retries:
        raise BackendUnavailableError(message, max(retries))
    if any(leg.reason is StageReason.INDEX_UNAVAILABLE for leg in failures):
        raise StorageError(message)
    raise ModelError(message)


def joined(first: TimedLeg, deeper: TimedLeg) -> TimedLeg:
    """A leg that was asked twice: its deeper answer, unless it gave none."""
    leg = deeper.leg if deeper.leg.reason is StageReason.NONE else first.leg
    return TimedLeg(leg, first.milliseconds + deeper.milliseconds)


def to_leg_report(stage: Stage, timed: TimedLeg, bi_encoder: BiEncoder | None) -> StageReport:
    """The report of a leg, and of the model that encoded its query."""
    leg = timed.leg
    if leg.reason is StageReason.NONE:
        state = StageState.COMPLETE
    elif leg.reason is StageReason.SHARDS_MISSING:
        state = StageState.PARTIAL
    elif leg.reason.is_failure:
        state = StageState.FAILED
    else:
        state = StageState.SKIPPED
    return StageReport(
        stage,
        state,
        leg.reason,
        leg.detail,
        model=bi_encoder.contract.name if bi_encoder else "",
        model_revision=bi_encoder.contract.revision if bi_encoder else "",
        candidates_in=leg.eligible,
        candidates_out=len(leg.recalled),
        elapsed_milliseconds=timed.milliseconds,
        answered_share=leg.answered if state is StageState.PARTIAL else None,
    )


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else max(seconds, 0.0)
