"""Which runtime and precision a model runs on here: flags narrow, comparison admits, time decides.

choices_for(machine) -> for each: compile, compare with fp32 (in batches and alone), time -> the
fastest that is within the tolerance serves, on the very instance that was compared. The result is
kept (`runtime_choice_file.py`); at a later start `holds` compares the new instance on golden pairs.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sidecar.config import RuntimeConfig
from sidecar.errors import ModelError, ModelRefusedError
from sidecar.models.base import Pair
from sidecar.models.machine import Machine
from sidecar.models.runtime import Choice, Runtime
from sidecar.models.subject import Outputs, Subject
from sidecar.models.workers import yield_to_others

REFERENCE = Choice("onnxruntime", "fp32")
_GOLDEN_SCORE_TOLERANCE = 0.05  # of a contract's golden logits, in standard deviations
_GOLDEN_COSINE_TOLERANCE = 0.01
_SECONDS_A_CHOICE = 2.0  # what one pass over the inputs may take on the reference
_FEWEST_INPUTS = 16
_TIMED_SAMPLE = 8  # inputs that are run first, to see how many fit
_ALONE = 24  # inputs that are also run one by one
_PASSES = 2
_TURNS = 5
_BATCHES_A_STREAM = 6
_HOPELESS = 0.7  # of the best rate so far: not worth a second pass
_SMALL_REQUESTS = 3

OpenRuntime = Callable[[Choice], Runtime]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrialRow:
    """What was seen of one choice for one model.

    Rates count pairs (cross-encoder) or texts (bi-encoder); `ratio` is to fp32 on ONNX Runtime.
    `difference` is the largest from fp32, in the unit of `Subject.differences`; infinite for NaN.
    """

    model: str
    revision: str
    runtime: str
    precision: str
    hint: str
    per_second: float
    ratio: float
    difference: float
    verdict: str  # "chosen", "within tolerance", or why not


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """What is kept of a trial: the choice, and what its instances are compared with later.

    `batch_invariant`: its scores stayed within the tolerance whatever a pair was batched with."""

    choice: Choice
    golden_scores: tuple[float, ...]
    spread: float
    batch_invariant: bool
    rows: tuple[TrialRow, ...]


def choices_for(config: RuntimeConfig, machine: Machine, has_eight_bit: bool) -> list[Choice]:
    """What is worth trying here, the reference first; the configuration leaves out the rest.

    A configured precision is tried whatever the flags say.
    """
    known = [REFERENCE, Choice("openvino", "fp32"), Choice("openvino", "bf16")]
    if has_eight_bit:
        known += [Choice("openvino", "int8"), Choice("onnxruntime", "int8")]
    asked = [
        choice
        for choice in known
        if config.runtime in ("auto", choice.runtime)
        and config.precision in ("auto", choice.precision)
    ]
    promised = {"fp32": True, "bf16": machine.has_bf16, "int8": machine.has_int8}
    return [c for c in asked if promised[c.precision] or c.precision == config.precision]


def choose_runtime(
    subject: Subject, choices: Sequence[Choice], open_runtime: OpenRuntime
) -> tuple[RuntimeChoice, Runtime]:
    """Tries the choices and returns the winner's compiled instance with the record of it.

    Raises ModelError if the model leaves its golden scores even in fp32, or if no choice is within
    the tolerance.
    """
    name = subject.contract.name
    _log.info("trying runtimes for %s: %s", name, ", ".join(map(str, choices)))
    trial = _Trial(subject, open_runtime, timed=list(choices) != [REFERENCE])
    for choice in choices:
        trial.attempt(choice)
    if trial.best is not None and trial.best.choice.runtime == "openvino":
        trial.attempt(Choice("openvino", trial.best.choice.precision, "throughput"))
    trial.close_reference()
    if trial.best is None:
        seen = "; ".join(f"{row.runtime} {row.precision}: {row.verdict}" for row in trial.rows)
        raise ModelError(
            f"{name} runs on nothing that was tried within the tolerance ({seen or 'no choice'}): "
            "change runtime.runtime and runtime.precision, or raise runtime.score_tolerance"
        )
    chosen = trial.record(trial.best.choice)
    _log.info("%s runs on %s", name, trial.best.choice)
    return chosen, trial.best


def holds(subject: Subject, runtime: Runtime, kept: RuntimeChoice) -> bool:
    """Whether a compiled instance gives the golden pairs their scores, alone and in a batch."""
    tolerance = max(_golden_tolerance(subject, kept.spread), _allowed(subject, runtime, kept))
    wanted = np.array(kept.golden_scores, dtype=np.float32)
    for together in (True, False):
        apart = np.abs(subject.golden_scores_of(runtime, together) - wanted)
        if not np.all(apart <= tolerance):  # false for NaN too
            return False
    return True


def adopt_choice(subject: Subject, runtime: Runtime) -> RuntimeChoice:
    """What is kept of a choice that was made for another model, on an instance of this one.

    Raises ModelRefusedError, and closes the instance, unless the golden pairs of its contract get
    their scores, alone and in a batch.
    """
    wanted = np.array(subject.golden_scores, dtype=np.float32)
    try:
        if not len(wanted):
            raise ModelRefusedError("its contract has no golden pairs: it cannot be checked")
        found = [subject.golden_scores_of(runtime, together) for together in (True, False)]
        is_logit = subject.contract.kind == "cross-encoder"
        spread = float(np.std(wanted)) or 1.0
        moved = float(np.abs(found[0] - found[1]).max()) / (spread if is_logit else 1.0)
        kept = RuntimeChoice(
            runtime.choice, subject.golden_scores, spread, moved <= subject.tolerance, ()
        )
        tolerance = max(_golden_tolerance(subject, spread), _allowed(subject, runtime, kept))
        apart = max(float(np.abs(scores - wanted).max()) for scores in found)
        if not (apart <= tolerance and np.isfinite(found).all()):
            raise ModelRefusedError(
                f"a golden pair is off by {apart:.4g} from the score that the contract names, more "
                f"than {tolerance:.2g}"
            )
    except ModelError:
        runtime.close()
        raise
    return kept


def _allowed(subject: Subject, runtime: Runtime, kept: RuntimeChoice) -> float:
    """The tolerance of the precision, as a difference of golden scores."""
    tolerance = subject.tolerance_of(runtime.choice.precision)
    return tolerance * kept.spread if subject.contract.kind == "cross-encoder" else tolerance


def _golden_tolerance(subject: Subject, spread: float) -> float:
    if subject.contract.kind == "cross-encoder":
        return _GOLDEN_SCORE_TOLERANCE * spread
    return _GOLDEN_COSINE_TOLERANCE


class _Trial:
    """One choice under way: the reference's outputs, the rows so far, the best instance."""

    def __init__(self, subject: Subject, open_runtime: OpenRuntime, timed: bool) -> None:
        """`timed` false: there is no choice, so hardly anything is measured."""
        self._subject = subject
        self._open = open_runtime
        self._reference = open_runtime(REFERENCE)
        self._inputs = _as_many_as_fit(subject, self._reference) if timed else _few(subject)
        self._outputs = run_all(subject, self._reference, self._inputs)
        self._spread = float(np.std(self._outputs)) or 1.0
        self._golden = self._checked_golden_scores()
        self._reference_rate = _rate(subject, self._reference, self._inputs, 0.0)
        self.rows: list[TrialRow] = []
        self._moved: dict[Choice, float] = {}  # how far neighbours in a batch move an output
        self._best_rate = 0.0
        self.best: Runtime | None = None

    def attempt(self, choice: Choice) -> None:
        """Compiles, compares and times one choice; it becomes the best if it is faster."""
        try:
            runtime = self._reference if choice == REFERENCE else self._open(choice)
        except ModelError as error:
            self._add(choice, 0.0, np.inf, f"cannot run: {error.message}")
            return
        difference = self._difference(runtime)
        tolerance = self._subject.tolerance_of(choice.precision)
        if difference > tolerance:
            verdict = f"leaves the tolerance of {tolerance:g}"
            self._add(choice, 0.0, difference, verdict)
            self._drop(runtime)
            return
        rate = self._reference_rate
        if runtime is not self._reference:
            rate = _rate(self._subject, runtime, self._inputs, self._best_rate)
        if choice.hint == "throughput" and self.best is not None:
            rate = self._best_rate * self._by_turns(runtime, self.best)
        self._add(choice, rate, difference, "within tolerance")
        if rate > self._best_rate:
            self._drop(self.best)
            self.best, self._best_rate = runtime, rate
        else:
            self._drop(runtime)

    def _by_turns(self, runtime: Runtime, best: Runtime) -> float:
        """How many times the best one's rate another runtime reaches: the median of some turns.

        The two hints are near each other, and what else runs on the machine must not decide. What
        is run is what a busy batcher sends: so many full batches that no stream is idle for long.
        """
        tokens = sum(one.length for one in self._inputs)
        wanted = _BATCHES_A_STREAM * runtime.concurrency * self._subject.batch_tokens
        inputs = self._inputs * max(1, round(wanted / tokens))
        ratios = []
        for _ in range(_TURNS):
            rate = _rate_of_one_pass(self._subject, best, [inputs])
            ratios.append(_rate_of_one_pass(self._subject, runtime, [inputs]) / rate)
        return statistics.median(ratios)

    def record(self, chosen: Choice) -> RuntimeChoice:
        """The result, the chosen row marked."""
        rows = tuple(
            _marked(row) if Choice(row.runtime, row.precision, row.hint) == chosen else row
            for row in self.rows
        )
        invariant = self._moved[chosen] <= self._subject.tolerance
        return RuntimeChoice(chosen, self._golden, self._spread, invariant, rows)

    def close_reference(self) -> None:
        """Frees the reference unless it is the best."""
        if self.best is not self._reference:
            self._reference.close()

    def _drop(self, runtime: Runtime | None) -> None:
        if runtime is not None and runtime is not self._reference:
            runtime.close()

    def _add(self, choice: Choice, rate: float, difference: float, verdict: str) -> None:
        contract = self._subject.contract
        ratio = rate / self._reference_rate
        head = (contract.name, contract.revision, choice.runtime, choice.precision, choice.hint)
        self.rows.append(TrialRow(*head, rate, ratio, float(difference), verdict))

    def _difference(self, runtime: Runtime) -> float:
        """The largest, in batches and alone; infinite if it fails."""
        step = max(1, len(self._inputs) // _ALONE)
        try:
            together = run_all(self._subject, runtime, self._inputs)
            alone = [self._subject.outputs_of(runtime, [one]) for one in self._inputs[::step]]
        except ModelError:
            return float("inf")
        apart = self._apart(together, self._outputs)
        apart_alone = self._apart(np.concatenate(alone), self._outputs[::step])
        self._moved[runtime.choice] = self._apart(together[::step], np.concatenate(alone))
        return max(apart, apart_alone)

    def _apart(self, outputs: Outputs, others: Outputs) -> float:
        return float(self._subject.differences(outputs, others, self._spread).max())

    def _checked_golden_scores(self) -> tuple[float, ...]:
        """The contract's golden scores, checked in fp32; the reference's own where it has none."""
        found = self._subject.golden_scores_of(self._reference, together=True)
        wanted = self._subject.golden_scores
        if not np.all(np.isfinite(found)):
            raise ModelError(
                f"{self._subject.contract.name} gives scores that are no numbers, even in fp32, to "
                "the golden pairs: fetch or build the model again"
            )
        if not wanted:
            return tuple(found.tolist())
        apart = float(np.abs(found - np.array(wanted)).max())
        if not apart <= _golden_tolerance(self._subject, self._spread):
            raise ModelError(
                f"{self._subject.contract.name} does not give its golden pairs the scores that its "
                f"contract names (off by up to {apart:.4g}): fetch or build the model again"
            )
        return wanted


def run_all(subject: Subject, runtime: Runtime, inputs: Sequence[Pair]) -> Outputs:
    """The outputs of many inputs, in order: by length, in batches, all streams busy."""
    batches = by_length(inputs, subject.batch_pairs, subject.batch_tokens)
    order = [row for batch in batches for row in batch]
    with ThreadPoolExecutor(runtime.concurrency, initializer=yield_to_others) as workers:
        parts = list(workers.map(lambda rows: _of_rows(subject, runtime, inputs, rows), batches))
    outputs = np.concatenate(parts)
    outputs[order] = outputs.copy()
    return outputs


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


def _of_rows(
    subject: Subject, runtime: Runtime, inputs: Sequence[Pair], rows: Sequence[int]
) -> Outputs:
    return subject.outputs_of(runtime, [inputs[row] for row in rows])


def _as_many_as_fit(subject: Subject, runtime: Runtime) -> list[Pair]:
    """All inputs, or so many, evenly chosen, as the reference runs in _SECONDS_A_CHOICE."""
    inputs = list(subject.inputs)
    sample = inputs[:_TIMED_SAMPLE]
    started = time.perf_counter()
    subject.outputs_of(runtime, sample)
    rate = len(sample) / (time.perf_counter() - started)
    fitting = max(_FEWEST_INPUTS, int(rate * _SECONDS_A_CHOICE))
    return inputs[:: -(-len(inputs) // fitting)]


def _few(subject: Subject) -> list[Pair]:
    return list(subject.inputs[:: max(1, len(subject.inputs) // _FEWEST_INPUTS)])


def _rate(subject: Subject, runtime: Runtime, inputs: Sequence[Pair], rate_to_beat: float) -> float:
    """Inputs a second over a large and some small requests, the best of some passes.

    Only one pass where the first is far below `rate_to_beat`.
    """
    requests = list(_requests(subject, inputs))
    best = 0.0
    for _ in range(_PASSES):
        best = max(best, _rate_of_one_pass(subject, runtime, requests))
        if best < _HOPELESS * rate_to_beat:
            break
    return best


def _rate_of_one_pass(
    subject: Subject, runtime: Runtime, requests: Sequence[Sequence[Pair]]
) -> float:
    started = time.perf_counter()
    for request in requests:
        run_all(subject, runtime, request)
    return sum(map(len, requests)) / (time.perf_counter() - started)


def _requests(subject: Subject, inputs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    yield inputs
    if not subject.small_request:
        return
    size = min(subject.small_request, len(inputs))
    for number in range(_SMALL_REQUESTS):
        start = number * size % (len(inputs) - size + 1)
        yield inputs[start : start + size]


def _marked(row: TrialRow) -> TrialRow:
    head = (row.model, row.revision, row.runtime, row.precision, row.hint)
    return TrialRow(*head, row.per_second, row.ratio, row.difference, "chosen")
