"""Which of the waiting pairs make the next batch: pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.rerank.work import PairWork, SubRequest

LIKE_LENGTH = 0.8  # of the longest: a pair as long as this is padded by a quarter at most
LIKE_LENGTH_TOKENS = 8  # so few are cheaper to pad than a batch is to start
LOOK_AHEAD_SUB_REQUESTS = 64
NEAR_SUB_REQUESTS = 2  # of one request, in one batch, unless it has
AMPLE_TIME = 2.0  # times the time that a lane takes for all of it

Chosen = list[tuple[SubRequest, PairWork]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch may be.

    `tokens` is its budget (one pair may exceed it), counted with padding if `pads`. It ends at
    about now + `seconds_per_token` * tokens, times being those of the event loop's clock.
    """

    tokens: int
    pads: bool
    now: float
    seconds_per_token: float

    def tokens_until(self, deadline: float) -> float:
        """Tokens that are scored by then, if they are started now."""
        return (deadline - self.now) / self.seconds_per_token


def is_late(leader: SubRequest, limits: Limits) -> bool:
    """Whether not even the best-ranked pair of a sub-request would be scored in time."""
    best_ranked = next(iter(leader.works))
    return best_ranked.length > limits.tokens_until(leader.request.deadline)


def choose(leader: SubRequest, others: Iterator[SubRequest], limits: Limits) -> Chosen:
    """Pairs of one batch, each with the sub-request at whose turn it was chosen.

    Of the leader, whose turn it is, the longest pairs, and then, as far as the budget goes, pairs
    of like length of the others, in turn. A budget that ends before the leader does, for want of
    time, takes its best-ranked pairs instead. A runtime that does not pad takes all in turn.
    """
    in_time = limits.tokens_until(leader.request.deadline)
    if leader.tokens > in_time:
        return _best_ranked(leader, min(limits.tokens, in_time), limits.pads)
    budget = min(limits.tokens, in_time)
    followers = _in_time(itertools.islice(others, LOOK_AHEAD_SUB_REQUESTS), limits, budget)
    if not limits.pads:
        return _in_order(itertools.chain((leader,), followers), budget)
    near = _near(leader, followers, limits)
    return _alike(leader, itertools.chain((leader,), near), budget)


def _alike(leader: SubRequest, subs: Iterator[SubRequest], budget: float) -> Chosen:
    longest = max(work.length for work in leader.works)
    shortest = min(LIKE_LENGTH * longest, longest - LIKE_LENGTH_TOKENS)
    room = max(1, int(budget // longest))
    chosen: dict[PairWork, SubRequest] = {}
    for sub in subs:
        alike = [work for work in sub.works if shortest <= work.length <= longest]
        alike.sort(key=_length, reverse=True)
        for work in alike:
            chosen.setdefault(work, sub)
            if len(chosen) == room:
                return [(sub, work) for work, sub in chosen.items()]
    return [(sub, work) for work, sub in chosen.items()]


def _in_order(subs: Iterator[SubRequest], budget: float) -> Chosen:
    chosen: dict[PairWork, SubRequest] = {}
    tokens = 0
    for sub in subs:
        for work in sub.works:
            if work in chosen:
                continue
            if chosen and tokens + work.length > budget:
                return [(sub, work) for work, sub in chosen.items()]
            chosen[work] = sub
            tokens += work.length
    return [(sub, work) for work, sub in chosen.items()]


def _best_ranked(leader: SubRequest, budget: float, pads: bool) -> Chosen:
    chosen: Chosen = []
    longest = tokens = 0
    for work in leader.works:
        longest, tokens = max(longest, work.length), tokens + work.length
        if chosen and (longest * (len(chosen) + 1) if pads else tokens) > budget:
            break
        chosen.append((leader, work))
    return chosen


def _in_time(subs: Iterator[SubRequest], limits: Limits, budget: float) -> Iterator[SubRequest]:
    """Those whose requests can still wait for the whole batch."""
    return (sub for sub in subs if limits.tokens_until(sub.request.deadline) >= budget)


def _near(leader: SubRequest, subs: Iterator[SubRequest], limits: Limits) -> Iterator[SubRequest]:
    """Of a request with little time the next few alone: with pairs of like length from all of its
    list, there would be something of everything when the time is over, and little from the top
    down."""
    seen = Counter({leader.request: 1})
    for sub in subs:
        request = sub.request
        seen[request] += 1
        left = request.tokens + request.unread_tokens
        if seen[request] <= NEAR_SUB_REQUESTS or (
            limits.tokens_until(request.deadline) > AMPLE_TIME * left
        ):
            yield sub


def _length(work: PairWork) -> int:
    return work.length
