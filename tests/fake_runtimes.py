"""Runtimes that score a pair by its id, some of them wrongly, and a clock that they move."""

from collections.abc import Callable

import numpy as np
import pytest

from sidecar.errors import ModelError
from sidecar.models.base import Pair
from sidecar.models.contract import ModelContract
from sidecar.models.runtime import Batch, Choice, Output
from sidecar.models.subject import Subject

CONTRACT = ModelContract(name="fake", kind="cross-encoder", revision="1")
OPENVINO = Choice("openvino", "fp32")
BF16 = Choice("openvino", "bf16")
INPUTS = tuple(Pair((number,), (0,)) for number in range(40))
Fault = Callable[[Output, int], Output]
Slowness = Callable[[float], float]  # of the clock's time


def right(scores: Output, batch: int) -> Output:
    return scores


def garbage_in_batches(scores: Output, batch: int) -> Output:
    return scores if batch == 1 else scores * 40.0


def garbage_alone(scores: Output, batch: int) -> Output:
    return scores * 40.0 if batch == 1 else scores


def one_nan(scores: Output, batch: int) -> Output:
    return np.where(scores == 7.0, np.nan, scores).astype(np.float32)


def rounded(scores: Output, batch: int) -> Output:
    return (scores * 1.0005).astype(np.float32)


class FakeRuntime:
    """Scores a pair by its id; `fault` is what it makes of the scores of a batch of that size.

    Its time is counted, not spent: `what is timed is timed by this clock.
    """

    concurrency = 1

    def __init__(
        self,
        choice: Choice,
        clock: list[float],
        cost: float,
        fault: Fault = right,
        slowness: Slowness = lambda now: 1.0,
    ) -> None:
        self.choice, self._clock, self._cost, self._fault = choice, clock, cost, fault
        self._slowness = slowness
        self.closed = False
        self.pairs = 0

    def run(self, batch: Batch, cancellation: object = None) -> Output:
        assert not self.closed
        self._clock[0] += self._cost * len(batch.input_ids) * self._slowness(self._clock[0])
        self.pairs += len(batch.input_ids)
        scores = batch.input_ids[:, 0].astype(np.float32)
        return self._fault(scores, len(scores))

    def close(self) -> None:
        self.closed = True


class Bench:
    """Opens fake runtimes by choice: cost in seconds a pair and fault; remembers them.

    An opening costs `opening_seconds`; at the time t everything takes `slowness(t)` times as long.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **kinds: tuple[float, Fault]) -> None:
        self.clock = [0.0]
        self.opened: list[FakeRuntime] = []
        self.opening_seconds = 0.0
        self.slowness: Slowness = lambda now: 1.0
        self._kinds = kinds
        for clock in ("perf_counter", "process_time"):
            monkeypatch.setattr(f"time.{clock}", lambda: self.clock[0])

    def open(self, choice: Choice) -> FakeRuntime:
        key = f"{choice.runtime}_{choice.precision}"
        kind = self._kinds.get(f"{key}_{choice.hint}") or self._kinds.get(key)
        if kind is None:
            raise ModelError("not on this machine")
        self.clock[0] += self.opening_seconds * self.slowness(self.clock[0])
        self.opened.append(FakeRuntime(choice, self.clock, *kind, slowness=self.slowness))
        return self.opened[-1]


def subject_of(contract: ModelContract = CONTRACT, golden: tuple[float, ...] = ()) -> Subject:
    return Subject(
        contract=contract,
        inputs=INPUTS,
        golden_inputs=INPUTS[:8],
        golden_scores=golden,
        batch_pairs=8,
        batch_tokens=1024,
        small_request=1,
        tolerance=0.02,
        outputs_of=lambda runtime, pairs: runtime.run(Batch.pad(pairs, 0)),
    )
