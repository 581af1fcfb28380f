"""Two systems timed in turn, by a clock that only the systems move."""

from __future__ import annotations

import pytest

from training.evaluation import latency
from training.evaluation.latency import MOST_ROUNDS, ROUNDS, Timed, timed


class Clock:
    """`ask` moves it by a cost; what a machine does besides, by a pause now and then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[tuple[str, str]] = []

    def system(self, name: str, milliseconds: dict[str, float]):
        def ask(query: str) -> None:
            self.asked.append((name, query))
            paused = 0.5 if len(self.asked) % 7 == 0 else 0.0
            self.now += milliseconds[query] / 1000.0 + paused

        return ask


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock.now)
    return clock


def test_pauses_of_the_machine_do_not_count(clock: Clock) -> None:
    queries = [f"q{n}" for n in range(101)]
    quick = {query: 10.0 + n / 10 for n, query in enumerate(queries)}
    slow = {query: 2 * each for query, each in quick.items()}
    took = timed(clock.system("p", quick), clock.system("c", slow), queries, 101)
    assert took.production.p50 == pytest.approx(15.0, abs=0.01)
    assert took.production.p99 == pytest.approx(19.9, abs=0.01)
    assert took.candidate.p99 == pytest.approx(39.8, abs=0.01)
    assert took.to_evidence().candidate_milliseconds == took.candidate.p99


def test_both_get_the_same_requests_in_turn(clock: Clock) -> None:
    cost = {"a": 1.0, "b": 1.0, "c": 1.0}
    timed(clock.system("p", cost), clock.system("c", cost), list(cost), 4)
    by_system = {name: [q for n, q in clock.asked if n == name] for name in "pc"}
    assert sorted(by_system["p"]) == sorted(by_system["c"])
    assert len(by_system["p"]) == 4 * (ROUNDS + 1)
    first = [name for name, _ in clock.asked[-4 * 2 * ROUNDS :: 2]]
    assert 0.3 < first.count("p") / len(first) < 0.7


def test_those_that_differ_are_asked_more_often(clock: Clock) -> None:
    cost, double = {"a": 10.0}, {"a": 20.0}
    timed(clock.system("p", cost), clock.system("c", double), ["a"], 5)
    assert len(clock.asked) == 2 * 5 * (MOST_ROUNDS + 1)
    clock.asked.clear()
    timed(clock.system("p", double), clock.system("c", cost), ["a"], 5)
    assert len(clock.asked) == 2 * 5 * (MOST_ROUNDS + 1)
    clock.asked.clear()
    timed(clock.system("p", cost), clock.system("c", {"a": 10.2}), ["a"], 5)
    assert len(clock.asked) == 2 * 5 * (ROUNDS + 1)


def test_it_is_kept_as_json(clock: Clock) -> None:
    import dataclasses

    cost = {"a": 3.0}
    took = timed(clock.system("p", cost), clock.system("c", cost), ["a"], 3)
    assert Timed.from_json(dataclasses.asdict(took)) == took
    with pytest.raises(ValueError, match="no request"):
        timed(clock.system("p", cost), clock.system("c", cost), [], 3)
