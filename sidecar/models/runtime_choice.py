"""Which runtime and precision a model runs on here: flags narrow, comparison admits, time decides.

choices_for(machine) -> for each: compile, compare with fp32 (in batches and alone), time by turns
with the best so far (`timing.py`) -> the fastest that is within the tolerance serves, on the very
instance that was compared. The likeliest come first; what there was no time for is named. The
result is kept (`runtime_choice_file.py`); at a later start `holds` compares the new instance on
golden pairs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sidecar.config import RuntimeConfig
from sidecar.errors import ModelError, ModelRefusedError
from sidecar.models.base import Pair
from sidecar.models.contract import ModelContract
from sidecar.models.machine import Machine
from sidecar.models.runtime import Choice, Runtime
from sidecar.models.subject import Outputs, Subject
from sidecar.models.timing import (
    NO_DEADLINE,
    TURNS,
    Deadline,
    OutOfTimeError,
    Requests,
    evenly,
    rate_of,
    ratio_by_turns,
    requests_of,
    rough_rate,
    run_all,
    run_alone,
)

REFERENCE = Choice("onnxruntime", "fp32")
_GOLDEN_SCORE_TOLERANCE = 0.05  # of a contract's golden logits, in standard deviations
_GOLDEN_COSINE_TOLERANCE = 0.01
OUT_OF_TIME = "not tried: out of time"
_PASS_SECONDS = 2.0  # what one pass over the inputs may take on the reference
_PASS_SHARE = 0.1  # and of the time there is: all choices take some 5 passes, and timing
_PORTIONS = 4  # of those inputs, one a turn
_FEWEST_INPUTS = 16  # that are compared
_ALONE = 24  # inputs that are also run one by one
_BATCHES_A_STREAM = 6

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
    verdict: str  # "chosen", "within tolerance", OUT_OF_TIME, or why not


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """What is kept of a trial: the choice, and what its instances are compared with later.

    `batch_invariant`: its scores stayed within the tolerance whatever a pair was batched with."""

    choice: Choice
    golden_scores: tuple[float, ...]
    spread: float
    batch_invariant: bool
    rows: tuple[TrialRow, ...]

    @property
    def untried(self) -> tuple[Choice, ...]:
        """What there was no time for."""
        rows = (row for row in self.rows if row.verdict == OUT_OF_TIME)
        return tuple(Choice(row.runtime, row.precision, row.hint) for row in rows)

    def untried_by(self, contract: ModelContract) -> tuple[TrialRow, ...]:
        """What has not been tried of a model that takes this choice over, either."""
        return tuple(
            replace(row, model=contract.name, revision=contract.revision)
            for row in self.rows
            if row.verdict == OUT_OF_TIME
        )


def choices_for(config: RuntimeConfig, machine: Machine, has_eight_bit: bool) -> list[Choice]:
    """What is worth trying here; the configuration leaves out the rest.

    The reference comes first, which is run in any case; then what is likeliest to be the fastest
    where the flags promise it. A configured precision is tried whatever the flags say.
    """
    known = [REFERENCE, Choice("openvino", "bf16")]
    if has_eight_bit:
        known += [Choice("openvino", "int8"), Choice("onnxruntime", "int8")]
    known.append(Choice("openvino", "fp32"))
    asked = [
        choice
        for choice in known
        if config.runtime in ("auto", choice.runtime)
        and config.precision in ("auto", choice.precision)
    ]
    promised = {"fp32": True, "bf16": machine.has_bf16, "int8": machine.has_int8}
    return [c for c in asked if promised[c.precision] or c.precision == config.precision]


def choose_runtime(
    subject: Subject, choices: Sequence[Choice], open_runtime: OpenRuntime, seconds: float = 0.0
) -> tuple[RuntimeChoice, Runtime]:
    """Tries the choices and returns the winner's compiled instance with the record of it.

    After `seconds` (0: no limit) nothing further is begun, and what runs ends with its batch; the
    best so far serves. Whatever the time, the reference and the first of the others are compared
    and timed. Raises ModelError if the model leaves its golden scores even in fp32, or if no choice
    is within the tolerance.
    """
    name = subject.contract.name
    _log.info("trying runtimes for %s: %s", name, ", ".join(map(str, choices)))
    trial = _Trial(subject, open_runtime, seconds, timed=list(choices) != [REFERENCE])
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

    def __init__(
        self, subject: Subject, open_runtime: OpenRuntime, seconds: float, timed: bool
    ) -> None:
        """`timed` false: there is no choice, so hardly anything is measured."""
        self._deadline = Deadline(seconds)
        self._subject = subject
        self._open = open_runtime
        self._opening_seconds = 0.0  # the longest so far
        self._reference = self._opened(REFERENCE)
        pass_seconds = min(_PASS_SECONDS, _PASS_SHARE * seconds or _PASS_SECONDS) if timed else 0.0
        inputs, outputs = self._reference_pass(pass_seconds)
        parts = [inputs[start::_PORTIONS] for start in range(min(_PORTIONS, len(inputs)))]
        self._portions = [requests_of(subject, part) for part in parts]
        self._inputs = [one for part in parts for one in part]
        self._outputs = np.concatenate([outputs[start::_PORTIONS] for start in range(len(parts))])
        self._spread = float(np.std(self._outputs)) or 1.0
        self._golden = self._checked_golden_scores()
        self._reference_rate = rate_of(
            subject, self._reference, [request for portion in self._portions for request in portion]
        )
        self.rows: list[TrialRow] = []
        self._moved: dict[Choice, float] = {}  # how far neighbours in a batch move an output
        self._best_rate = 0.0
        self.best: Runtime | None = None

    def attempt(self, choice: Choice) -> None:
        """Compiles, compares and times one choice; it becomes the best if it is faster.

        Out of time, it is not tried, unless too little is known without it.
        """
        needed = self._is_needed()
        runtime: Runtime | None = None
        try:
            if not needed:
                self._deadline.check(self._opening_seconds)
            runtime = self._reference if choice == REFERENCE else self._opened(choice)
            self._compare(runtime, needed)
        except OutOfTimeError:
            self._add(choice, 0.0, np.inf, OUT_OF_TIME)
        except ModelError as error:
            self._add(choice, 0.0, np.inf, f"cannot run: {error.message}")
        if runtime is not self.best:
            self._drop(runtime)

    def _is_needed(self) -> bool:
        """Nothing can serve yet, or nothing was compared but the reference."""
        return self.best is None or (self.best is self._reference and len(self._moved) == 1)

    def _opened(self, choice: Choice) -> Runtime:
        started = time.perf_counter()
        runtime = self._open(choice)
        took = time.perf_counter() - started
        self._opening_seconds = max(self._opening_seconds, took)
        return runtime

    def _reference_pass(self, seconds: float) -> tuple[list[Pair], Outputs]:
        """As many inputs as the reference runs in `seconds`, and its outputs."""
        rate = rough_rate(self._subject, self._reference)
        inputs = evenly(self._subject.inputs, max(_FEWEST_INPUTS, int(rate * seconds)))
        started = time.perf_counter()
        outputs = run_all(self._subject, self._reference, inputs)
        # The machine may have got busier meanwhile.
        fitting = int(len(inputs) * seconds / (time.perf_counter() - started))
        step = max(1, len(inputs) // max(_FEWEST_INPUTS, fitting))
        return inputs[::step], outputs[::step]

    def _compare(self, runtime: Runtime, needed: bool) -> None:
        """With fp32, then in pace with the best. Raises OutOfTimeError."""
        choice = runtime.choice
        difference = self._difference(runtime, NO_DEADLINE if needed else self._deadline)
        tolerance = self._subject.tolerance_of(choice.precision)
        if difference > tolerance:
            self._add(choice, 0.0, difference, f"leaves the tolerance of {tolerance:g}")
            return
        rate = self._rate(runtime, needed)
        self._add(choice, rate, difference, "within tolerance")
        if rate > self._best_rate:
            self._drop(self.best)
            self.best, self._best_rate = runtime, rate

    def _rate(self, runtime: Runtime, needed: bool) -> float:
        """Inputs a second, by turns with the best so far, or with the reference."""
        if runtime is self._reference:
            return self._reference_rate
        best, rate = self.best or self._reference, self._best_rate or self._reference_rate
        hints_differ = runtime.choice.hint != best.choice.hint
        portions = [self._many_batches(runtime, rate)] if hints_differ else self._portions
        pair = (runtime, best)
        return rate * ratio_by_turns(self._subject, pair, portions, self._deadline, needed)

    def _many_batches(self, runtime: Runtime, rate: float) -> Requests:
        """What a busy batcher sends, for the two hints are near each other: so many full batches
        that no stream is idle for long, if there is time for them."""
        inputs = self._inputs
        tokens = sum(one.length for one in inputs)
        wanted = _BATCHES_A_STREAM * runtime.concurrency * self._subject.batch_tokens / tokens
        fitting = self._deadline.left_seconds * rate / (2 * TURNS * len(inputs))
        return [inputs * max(1, round(min(wanted, fitting)))]

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

    def _difference(self, runtime: Runtime, deadline: Deadline) -> float:
        """The largest, in batches and alone; infinite if it fails. Raises OutOfTimeError."""
        step = max(1, len(self._inputs) // _ALONE)
        together = self._outputs
        try:
            if runtime is not self._reference:
                together = self._by_portions(runtime, deadline)
            alone = run_alone(self._subject, runtime, self._inputs[::step], deadline)
        except ModelError:
            return float("inf")
        self._moved[runtime.choice] = self._apart(together[::step], alone)
        apart_alone = self._apart(alone, self._outputs[::step])
        return max(self._apart(together, self._outputs), apart_alone)

    def _by_portions(self, runtime: Runtime, deadline: Deadline) -> Outputs:
        """The outputs of all inputs, in the batches that are timed later: what a runtime plans for
        their shapes, it has planned then."""
        large_requests = [portion[0] for portion in self._portions]
        return np.concatenate(
            [run_all(self._subject, runtime, request, deadline) for request in large_requests]
        )

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


def _marked(row: TrialRow) -> TrialRow:
    head = (row.model, row.revision, row.runtime, row.precision, row.hint)
    return TrialRow(*head, row.per_second, row.ratio, row.difference, "chosen")
