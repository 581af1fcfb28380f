"""How fast a runtime runs inputs: passes over them in batches, two runtimes in turns, a deadline.

What else runs on the machine must not decide. So rates are only ever compared where the passes
alternated, and what a pass is worth is known before its time is up.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sidecar.models.base import Pair
from sidecar.models.runtime import Runtime
from sidecar.models.subject import Outputs, Subject
from sidecar.models.workers import yield_to_others

TURNS = 12  # of two runtimes that are near each other
_FEWEST_TURNS = 4
_CLEAR = 0.7  # ratios below it, or above its reciprocal, decide
# Of one core: with less, the machine computes something else. Measured at a load of 8 a core, turns
# of bf16 took 0.4 to 3.5 s by the clock and 0.15 to 0.17 s of CPU time.
_STARVED = 0.7
_TIMED_SAMPLE = 4  # inputs that are run first, to see how many fit

Requests = Sequence[Sequence[Pair]]


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one took; the CPU time is that of all threads of the process."""

    seconds: float
    cpu_seconds: float


class OutOfTimeError(Exception):
    """A deadline has passed; what was under way is given up."""


class Deadline:
    """The end of what takes `seconds` from now at most; 0: no end. Thread safe."""

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds if seconds else float("inf")

    @property
    def left_seconds(self) -> float:
        """Negative once it has passed."""
        return self._end - time.perf_counter()

    def check(self, seconds: float = 0.0) -> None:
        """Raises OutOfTimeError unless more than so much is left."""
        if self.left_seconds <= seconds:
            raise OutOfTimeError


NO_DEADLINE = Deadline(0.0)


def run_all(
    subject: Subject, runtime: Runtime, inputs: Sequence[Pair], deadline: Deadline = NO_DEADLINE
) -> Outputs:
    """The outputs of many inputs, in order: by length, in batches, all streams busy.

    Raises OutOfTimeError between two batches.
    """
    batches = by_length(inputs, subject.batch_pairs, subject.batch_tokens)
    order = [row for batch in batches for row in batch]

    def outputs_of(rows: Sequence[int]) -> Outputs:
        deadline.check()
        return subject.outputs_of(runtime, [inputs[row] for row in rows])

    with ThreadPoolExecutor(runtime.concurrency, initializer=yield_to_others) as workers:
        parts = list(workers.map(outputs_of, batches))
    outputs = np.concatenate(parts)
    outputs[order] = outputs.copy()
    return outputs


def run_alone(
    subject: Subject, runtime: Runtime, inputs: Sequence[Pair], deadline: Deadline = NO_DEADLINE
) -> Outputs:
    """The outputs of inputs that are run one by one. Raises OutOfTimeError between two."""
    outputs = []
    for one in inputs:
        deadline.check()
        outputs.append(subject.outputs_of(runtime, [one]))
    return np.concatenate(outputs)


def by_length(inputs: Sequence[Pair], batch_pairs: int, batch_tokens: int) -> list[list[int]]:
    """Rows of the inputs, the longest first, in batches within both bounds, padding included."""
    batches: list[list[int]] = []
    longest = 0
    for row in sorted(range(len(inputs)), key=lambda row: -inputs[row].length):
        size = len(batches[-1]) + 1 if batches else 1
        if not batches or size > batch_pairs or size * longest > batch_tokens:
            batches.append([])
            longest = inputs[row].length
        batches[-1].append(row)
    return batches


def evenly(inputs: Sequence[Pair], most: int) -> list[Pair]:
    """At most so many of the inputs, evenly chosen; at least one."""
    return list(inputs[:: stride(len(inputs), most)])


def stride(count: int, most: int) -> int:
    """The least step by which at most so many of `count` are taken."""
    return -(-count // max(1, most))


def rough_rate(subject: Subject, runtime: Runtime) -> float:
    """Inputs a second over a few of them, the runtime still cold."""
    sample = evenly(subject.inputs, _TIMED_SAMPLE)
    started = time.perf_counter()
    subject.outputs_of(runtime, sample)
    return len(sample) / (time.perf_counter() - started)


def requests_of(subject: Subject, inputs: Sequence[Pair]) -> Requests:
    """What is timed: a large request, and a small one where the subject has such."""
    return [inputs, inputs[: subject.small_request]] if subject.small_request else [inputs]


def rate_of(
    subject: Subject, runtime: Runtime, requests: Requests, deadline: Deadline = NO_DEADLINE
) -> float:
    """Inputs a second over one pass. Raises OutOfTimeError, the pass unfinished."""
    passed = _pass_of(subject, runtime, requests, deadline)
    return sum(map(len, requests)) / passed.seconds


def ratio_by_turns(
    subject: Subject,
    runtimes: tuple[Runtime, Runtime],
    portions: Sequence[Requests],
    deadline: Deadline,
    needed: bool = False,
) -> float:
    """How many times the rate of the second runtime the first one reaches: the median of turns.

    Each runs the next of the portions: turns are short, so that what else runs hits both alike.
    There are TURNS of them, fewer where the first ones are clear or the deadline passes. Raises
    OutOfTimeError where not even _FEWEST_TURNS were finished, which have no deadline if `needed`.
    """
    ratios: list[float] = []
    for turn in range(TURNS):
        limit = NO_DEADLINE if needed and turn < _FEWEST_TURNS else deadline
        requests = portions[turn % len(portions)]
        try:
            # Who begins changes: the second is run on caches and clocks that the first left.
            order = runtimes if turn % 2 else runtimes[::-1]
            passes = {id(each): _pass_of(subject, each, requests, limit) for each in order}
        except OutOfTimeError:
            if turn < _FEWEST_TURNS:
                raise
            break
        ratios.append(_ratio(passes[id(runtimes[0])], passes[id(runtimes[1])]))
        if _is_clear(ratios):
            break
    return statistics.median(ratios)


def _pass_of(subject: Subject, runtime: Runtime, requests: Requests, deadline: Deadline) -> _Pass:
    started, cpu_started = time.perf_counter(), time.process_time()
    for request in requests:
        run_all(subject, runtime, request, deadline)
    return _Pass(time.perf_counter() - started, time.process_time() - cpu_started)


def _ratio(first: _Pass, second: _Pass) -> float:
    """How many times as fast the first was: by the clock, or by CPU time where both had to wait."""
    cpu_seconds = first.cpu_seconds + second.cpu_seconds
    if cpu_seconds < _STARVED * (first.seconds + second.seconds) and first.cpu_seconds > 0.0:
        return second.cpu_seconds / first.cpu_seconds
    return second.seconds / first.seconds


def _is_clear(ratios: Sequence[float]) -> bool:
    """Whether they agree that one is far faster: few turns may have been disturbed."""
    slower = all(ratio < _CLEAR for ratio in ratios)
    faster = all(ratio > 1.0 / _CLEAR for ratio in ratios)
    return len(ratios) >= _FEWEST_TURNS and (slower or faster)
