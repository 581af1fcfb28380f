"""Whose turn it is among the requests of one class: earliest eligible virtual deadline first.

Stoica and Abdel-Wahab, "Earliest Eligible Virtual Deadline First: A Flexible and Accurate Mechanism
for Proportional Share Resource Allocation", 1995 (and WF2Q+, Bennett and Zhang 1997).

A caller has weight 1, each of its n waiting requests 1/n. Virtual time advances by the tokens that
are served over the callers that wait. A request that comes (or comes back) starts at the virtual
time; for each token that it is served its start moves on by n. Eligible is a request whose start is
not ahead of the virtual time, that is, one that did not yet get more than its share; of these the
one comes first whose next sub-request would end first at its share: start + tokens * n. So a
request is never more than one sub-request away from its share: a small one does not wait for all of
a large one, a large one advances beside any stream of small ones, and a caller with many requests
gets no more than one with few.
"""

from __future__ import annotations

import heapq
import itertools
import operator
from collections import Counter
from collections.abc import Iterator, Mapping

from sidecar.rerank.work import QueuedRequest, SubRequest


class FairQueue:
    """The waiting requests of one class of one model."""

    def __init__(self) -> None:
        self.virtual_time = 0.0
        self._requests: dict[QueuedRequest, None] = {}
        self._shares: Counter[str] = Counter()  # waiting requests of each caller
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[QueuedRequest]:
        return iter(self._requests)

    def add(self, request: QueuedRequest) -> None:
        """A request that has sub-requests waiting; again is once."""
        if request in self._requests:
            return
        request.virtual_start = max(request.virtual_start, self.virtual_time)
        request.number = next(self._numbers)
        self._requests[request] = None
        self._shares[request.caller] += 1

    def discard(self, request: QueuedRequest) -> None:
        """The request has nothing waiting (any more)."""
        if request not in self._requests:
            return
        del self._requests[request]
        self._shares[request.caller] -= 1
        if not self._shares[request.caller]:
            del self._shares[request.caller]

    def in_turn(self) -> Iterator[SubRequest]:
        """All waiting sub-requests, the next first; nothing may be added or taken meanwhile."""
        if not self._requests:
            return
        earliest = min(map(_virtual_start, self._requests))
        self.virtual_time = now = max(self.virtual_time, earliest)
        shares = self._shares
        heap = []
        for request in self._requests:
            start, head = request.virtual_start, next(iter(request.sub_requests))
            finish = start + head.tokens * shares[request.caller]
            heap.append((start > now, finish, request.number, head, request))
        heapq.heapify(heap)
        rests: dict[QueuedRequest, Iterator[SubRequest]] = {}
        while heap:
            _, start, number, sub, request = heap[0]
            yield sub
            if request not in rests:
                rests[request] = itertools.islice(request.sub_requests, 1, None)
            following = next(rests[request], None)
            if following is None:
                heapq.heappop(heap)
            else:
                finish = start + following.tokens * shares[request.caller]
                heapq.heapreplace(heap, (start > now, finish, number, following, request))

    def charge(self, served: Mapping[QueuedRequest, int]) -> None:
        """Tokens that requests are served; before what was taken leaves the queue."""
        for request, tokens in served.items():
            request.virtual_start += tokens * self._shares[request.caller]
        self.virtual_time += sum(served.values()) / max(1, len(self._shares))


_virtual_start = operator.attrgetter("virtual_start")
