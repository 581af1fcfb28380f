"""Passes, turns and deadlines by a clock that the fake runtimes move."""

import dataclasses
import itertools
from collections.abc import Callable

import pytest
from fake_runtimes import BF16, INPUTS, OPENVINO, FakeRuntime, Slowness, subject_of

from sidecar.models.base import Pair
from sidecar.models.subject import Outputs
from sidecar.models.timing import (
    NO_DEADLINE,
    TURNS,
    Deadline,
    OutOfTimeError,
    by_length,
    evenly,
    rate_of,
    ratio_by_turns,
    requests_of,
    run_all,
    run_alone,
)

SUBJECT = dataclasses.replace(subject_of(), small_request=10)
REQUESTS = requests_of(SUBJECT, INPUTS)  # 40 + 10 pairs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [0.0]
    for each in ("perf_counter", "process_time"):
        monkeypatch.setattr(f"time.{each}", lambda: seconds[0])
    return seconds


def two(
    clock: list[float], costs: tuple[float, float], slowness: Slowness = lambda now: 1.0
) -> tuple[FakeRuntime, FakeRuntime]:
    first, second = costs
    return (
        FakeRuntime(BF16, clock, first, slowness=slowness),
        FakeRuntime(OPENVINO, clock, second, slowness=slowness),
    )


def test_batches_keep_both_bounds_and_every_row() -> None:
    lengths = [5, 90, 3, 40, 40, 41, 200, 7]
    inputs = [Pair((1,) * length, (0,) * length) for length in lengths]
    batches = by_length(inputs, 3, 120)
    assert sorted(row for batch in batches for row in batch) == list(range(8))
    for batch in batches:
        assert len(batch) <= 3
        assert len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= 120


@pytest.mark.parametrize("most", [0, 1, 3, 16, 39, 40, 1000])
def test_inputs_are_chosen_evenly(most: int) -> None:
    chosen = [pair.input_ids[0] for pair in evenly(INPUTS, most)]
    assert 1 <= len(chosen) <= max(1, most)
    assert len({after - before for before, after in itertools.pairwise(chosen)}) <= 1
    assert most < 40 or chosen == list(range(40))


def test_outputs_are_in_order(clock: list[float]) -> None:
    runtime, _ = two(clock, (0.01, 0.01))
    assert run_all(SUBJECT, runtime, INPUTS).tolist() == [float(row) for row in range(40)]
    assert run_alone(SUBJECT, runtime, INPUTS[5:9]).tolist() == [5.0, 6.0, 7.0, 8.0]


def test_a_rate_counts_inputs_a_second(clock: list[float]) -> None:
    assert rate_of(SUBJECT, two(clock, (0.02, 1.0))[0], REQUESTS) == pytest.approx(50.0)


@pytest.mark.parametrize("run", [run_all, run_alone])
def test_what_is_over_the_deadline_ends_with_its_batch(
    clock: list[float], run: Callable[..., Outputs]
) -> None:
    runtime, _ = two(clock, (1.0, 1.0))
    with pytest.raises(OutOfTimeError):
        run(SUBJECT, runtime, INPUTS, Deadline(10.0))
    assert 10.0 <= clock[0] < 10.0 + SUBJECT.batch_pairs


def test_a_deadline_asks_for_as_much_as_is_needed(clock: list[float]) -> None:
    deadline = Deadline(10.0)
    clock[0] = 7.0
    assert deadline.left_seconds == 3.0
    deadline.check(2.9)
    with pytest.raises(OutOfTimeError):
        deadline.check(3.0)
    NO_DEADLINE.check(1e9)


@pytest.mark.parametrize(("costs", "turns"), [((0.01, 0.02), 4), ((0.02, 0.01), 4), ((9, 10), 12)])
def test_turns_end_where_they_are_clear(
    clock: list[float], costs: tuple[float, float], turns: int
) -> None:
    runtimes = two(clock, costs)
    ratio = ratio_by_turns(SUBJECT, runtimes, [REQUESTS], NO_DEADLINE)
    assert ratio == pytest.approx(costs[1] / costs[0])
    assert [runtime.pairs for runtime in runtimes] == [50 * turns] * 2
    assert turns <= TURNS


@pytest.mark.parametrize("period", [3.0, 11.0, 40.0])
@pytest.mark.parametrize("costs", [(0.010, 0.013), (0.013, 0.010), (0.010, 0.050)])
def test_what_else_runs_on_the_machine_does_not_decide(
    clock: list[float], costs: tuple[float, float], period: float
) -> None:
    """Every other period everything takes three times as long; a turn takes 1.1 s and more."""
    runtimes = two(clock, costs, lambda now: 3.0 if now % period > period / 2 else 1.0)
    ratio = ratio_by_turns(SUBJECT, runtimes, [REQUESTS], NO_DEADLINE)
    assert (ratio > 1.0) == (costs[0] < costs[1])


@pytest.mark.parametrize(("slow", "expected"), [(1.2, 1.9 / 1.2), (30.0, 1.9)])
def test_where_both_have_to_wait_cpu_time_decides(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, slow: float, expected: float
) -> None:
    """The first one waits; a runtime that gets its core is measured by the clock."""
    runtimes = two(clock, (0.010 * slow, 0.019))
    first, second = runtimes
    monkeypatch.setattr("time.process_time", lambda: 0.010 * first.pairs + 0.019 * second.pairs)
    ratio = ratio_by_turns(SUBJECT, runtimes, [REQUESTS], NO_DEADLINE)
    assert ratio == pytest.approx(expected)


@pytest.mark.parametrize("seconds", [4.3, 7.0])
def test_some_turns_within_a_deadline_are_enough(clock: list[float], seconds: float) -> None:
    runtimes = two(clock, (0.010, 0.011))  # 1.05 s a turn
    ratio = ratio_by_turns(SUBJECT, runtimes, [REQUESTS], Deadline(seconds))
    assert ratio == pytest.approx(1.1)
    assert clock[0] < seconds + 0.1


@pytest.mark.parametrize("seconds", [0.5, 2.0, 4.1])
def test_few_turns_say_nothing_unless_something_is_needed(
    clock: list[float], seconds: float
) -> None:
    runtimes = two(clock, (0.010, 0.011))
    with pytest.raises(OutOfTimeError):
        ratio_by_turns(SUBJECT, runtimes, [REQUESTS], Deadline(seconds))
    ratio = ratio_by_turns(SUBJECT, runtimes, [REQUESTS], Deadline(seconds), needed=True)
    assert ratio == pytest.approx(1.1)
