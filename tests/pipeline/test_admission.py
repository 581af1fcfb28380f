"""Admission: bounds and shares, by properties and by brute-force simulation of floods."""

from __future__ import annotations

import contextlib
import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import AdmissionConfig
from sidecar.errors import OverloadedError
from sidecar.pipeline.admission import LEAST_RETRY_SECONDS, Admission
from sidecar.types import RequestClass

LIMIT = 2.0
INTERACTIVE, PREFETCH, OFFLINE = RequestClass


def admission(limit: float = LIMIT) -> Admission:
    return Admission(AdmissionConfig(backlog_seconds=limit))


@dataclass
class Floods:
    """Requests that stay under way until they are told to leave."""

    admission: Admission = field(default_factory=admission)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def admit(self, caller: str, cost: float, of: RequestClass = INTERACTIVE) -> bool:
        try:
            self.stack.enter_context(self.admission.admit(caller, of, cost))
        except OverloadedError:
            return False
        return True

    def flood(self, callers: list[str], cost: float, of: RequestClass = INTERACTIVE) -> None:
        """All send in turn until none gets anything in."""
        while sum(self.admit(caller, cost, of) for caller in callers):
            pass

    def held_by(self, caller: str) -> float:
        return sum(c for (_, of), c in self.admission._cost.items() if of == caller)


requests = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from(list(RequestClass)),
    st.integers(0, 1500).map(lambda milliseconds: milliseconds / 1000) | st.just(5.0),
)


@given(st.lists(st.one_of(requests, st.integers(0, 20)), max_size=60))
def test_accepted_work_never_exceeds_the_limit_but_for_a_lone_request(
    steps: list[tuple[str, RequestClass, float] | int],
) -> None:
    """A number takes away one of the requests under way; the books are kept twice."""
    tested, under_way = admission(), []
    for step in steps:
        if isinstance(step, int):
            if under_way:
                _, _, entered = under_way.pop(step % len(under_way))
                entered.close()
            continue
        caller, of, cost = step
        before = sum(c for k, c, _ in under_way if k <= of)
        entered = contextlib.ExitStack()
        refused: OverloadedError | None = None
        try:
            entered.enter_context(tested.admit(caller, of, cost))
        except OverloadedError as error:
            refused = error
        if refused is None:
            assert before == 0.0 or cost == 0.0 or before + cost <= LIMIT + 1e-9
            under_way.append((of, cost, entered))
        else:
            assert before > 0.0, "a lone request is accepted whatever it costs"
            assert cost > 0.0
            assert refused.retry_seconds >= LEAST_RETRY_SECONDS
            assert refused.retry_seconds <= max(before + 1e-9, LEAST_RETRY_SECONDS)
        for last in RequestClass:
            books = sum(c for k, c, _ in under_way if k <= last)
            assert tested.backlog_seconds(last) == pytest.approx(books, abs=1e-9)
    for _, _, entered in under_way:
        entered.close()
    assert tested.backlog_seconds() == 0.0


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize(("of", "alpha"), [(INTERACTIVE, 2.0), (PREFETCH, 1.0), (OFFLINE, 0.25)])
def test_floods_get_the_equal_shares_of_dynamic_thresholds(
    count: int, of: RequestClass, alpha: float
) -> None:
    floods, callers, cost = Floods(), [f"c{n}" for n in range(count)], LIMIT / 1000
    floods.flood(callers, cost, of)
    share = LIMIT * alpha / (1.0 + count * alpha)
    for caller in callers:
        assert floods.held_by(caller) == pytest.approx(share, abs=3 * cost)


def test_a_small_caller_is_accepted_while_another_floods() -> None:
    floods = Floods()
    floods.flood(["loud"], LIMIT / 100)
    assert not floods.admit("loud", LIMIT / 100)
    assert floods.admit("quiet", LIMIT / 4)


def test_later_classes_are_refused_first() -> None:
    floods = Floods()
    floods.flood(["loud"], LIMIT / 100)
    cost = 0.2 * LIMIT
    assert not floods.admit("batch", cost, OFFLINE)
    assert not Floods(floods.admission).admit("loud", cost, PREFETCH)
    assert floods.admit("quiet", cost, INTERACTIVE)


def test_later_classes_are_in_nobodys_way() -> None:
    floods = Floods()
    assert floods.admit("batch", 10 * LIMIT, OFFLINE)
    assert not floods.admit("batch", LIMIT / 100, OFFLINE)
    assert floods.admit("a", LIMIT / 2, INTERACTIVE)
    assert floods.admit("b", LIMIT / 4, PREFETCH)


def test_without_a_limit_everything_is_accepted() -> None:
    floods = Floods(admission(0.0))
    assert all(floods.admit("a", 1000.0, OFFLINE) for _ in range(100))


def test_a_refusal_says_when_there_is_room() -> None:
    floods = Floods()
    assert floods.admit("a", 1.5)
    with (
        pytest.raises(OverloadedError, match=r"1\.00 s of work .* 1\.50 s accepted") as caught,
        floods.admission.admit("b", INTERACTIVE, 1.0),
    ):
        pass
    assert caught.value.retry_seconds == pytest.approx(0.5)  # what is beyond the limit


def test_a_request_that_fails_is_counted_no_longer() -> None:
    tested = admission()
    with pytest.raises(KeyError), tested.admit("a", INTERACTIVE, 1.0):
        raise KeyError
    assert tested.backlog_seconds() == 0.0
    assert not tested._cost
    assert not tested._admitted


@dataclass(order=True)
class Arrival:
    """A request of the simulation: it is sent at `at`, and again for as long as it is refused."""

    at: float
    caller: str
    cost: float
    tries: int = 0


def simulate(arrivals: list[Arrival], until: float) -> tuple[Counter[str], Counter[str]]:
    """Seconds of work done and requests given up by caller, on one model that serves callers in
    turn, a request at a time. Refused requests come again when they were told to."""
    tested, chance = admission(), random.Random(1)
    waiting: dict[str, list[tuple[float, contextlib.ExitStack]]] = {}
    done: Counter[str] = Counter()
    given_up: Counter[str] = Counter()
    heapq.heapify(arrivals)
    now, turn = 0.0, 0
    while now < until:
        while arrivals and arrivals[0].at <= now:
            sent, entered = heapq.heappop(arrivals), contextlib.ExitStack()
            try:
                entered.enter_context(tested.admit(sent.caller, INTERACTIVE, sent.cost))
            except OverloadedError as error:
                if sent.tries == 20:
                    given_up[sent.caller] += 1
                    continue
                again = now + error.retry_seconds * chance.uniform(1.0, 1.2)
                heapq.heappush(arrivals, Arrival(again, sent.caller, sent.cost, sent.tries + 1))
            else:
                waiting.setdefault(sent.caller, []).append((sent.cost, entered))
        busy = sorted(caller for caller, queue in waiting.items() if queue)
        if not busy:
            now = arrivals[0].at if arrivals else until
            continue
        turn += 1
        caller = busy[turn % len(busy)]
        cost, entered = waiting[caller].pop(0)
        now += cost
        done[caller] += cost
        entered.close()
    return done, given_up


def test_flooding_callers_get_equal_work_done_and_a_small_one_all_of_its_own() -> None:
    chance = random.Random(7)
    seconds = 40.0
    arrivals = [
        Arrival(chance.uniform(0, seconds), caller, chance.uniform(0.02, 0.08))
        for caller, count in (("loud", 3200), ("louder", 6400), ("quiet", 80))
        for _ in range(count)
    ]
    wanted = sum(one.cost for one in arrivals if one.caller == "quiet")
    done, given_up = simulate(arrivals, seconds + 5.0)
    assert done["quiet"] == pytest.approx(wanted, rel=0.02)
    assert given_up["quiet"] == 0
    assert done["loud"] == pytest.approx(done["louder"], rel=0.1)
    assert sum(done.values()) >= 0.99 * seconds  # the model is not idle while many wait
