"""One queue across requests: shares, classes, joined pairs, those who leave, bounds."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reranking import TimedCrossEncoder, errand, open_reranker, run, scores_of, texts, turns

from sidecar import metrics
from sidecar.errors import OverloadedError
from sidecar.models.base import Feed
from sidecar.rerank.reranker import Reranker
from sidecar.types import RequestClass, StageReason

INTERACTIVE, PREFETCH, OFFLINE = RequestClass
SUB_REQUEST = 16 * 10  # tokens, of 16 pairs of 10 each, and of a batch


def ask(reranker: Reranker, start: int, count: int, seconds: float = 1e6, **fields) -> asyncio.Task:  # type: ignore[no-untyped-def]
    passages = texts(range(start, start + count))
    return asyncio.create_task(reranker.score("q", passages, errand(seconds, **fields)))


def tokens_before(encoder: TimedCrossEncoder, of: range) -> int:
    """Tokens of others that were begun before the last of these numbers."""
    flat = list(itertools.chain(*encoder.begun))
    last = max(place for place, number in enumerate(flat) if number in of)
    return 10 * sum(number not in of for number in flat[:last])


# Shares


@given(st.integers(1, 60), st.integers(1, 5))
def test_a_small_request_waits_for_a_share_of_the_large_ones_only(small: int, large: int) -> None:
    """Each large one holds it up by as many tokens as it has itself, and one sub-request."""

    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        before = [ask(reranker, 1000 * n, 200) for n in range(1, large + 1)]
        await asyncio.sleep(0.05)
        mine = range(1, small + 1)
        await asyncio.gather(ask(reranker, 1, small), *before)
        begun = SUB_REQUEST  # the batch that was under way
        assert tokens_before(encoder, mine) <= begun + large * (10 * small + 2 * SUB_REQUEST)
        reranker.close()

    run(main())


def test_a_large_request_gets_its_half_beside_a_stream_of_small_ones() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        large = ask(reranker, 1, 320)

        async def stream() -> None:
            """There are always two small ones waiting."""
            for number in itertools.count(1):
                await ask(reranker, 1000 * number + 7, 10)

        small = [asyncio.create_task(stream()) for _ in range(2)]
        await large
        for one in small:
            one.cancel()
        await asyncio.gather(*small, return_exceptions=True)
        # One of three that wait, all of one caller: a third. What the small ones took is bounded.
        assert tokens_before(encoder, range(1, 321)) <= 2 * 3200 + 3 * SUB_REQUEST
        await turns()
        reranker.close()

    run(main())


def test_callers_share_alike_whatever_they_send() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        greedy = [ask(reranker, 1000 * n, 64, caller="greedy") for n in range(1, 11)]
        modest = ask(reranker, 1, 64, caller="modest")
        await modest
        assert tokens_before(encoder, range(1, 65)) <= 640 + 2 * SUB_REQUEST
        await asyncio.gather(*greedy)
        reranker.close()

    run(main())


@given(st.permutations(list(RequestClass)), st.integers(1, 3))
def test_classes_are_strict(classes: list[RequestClass], side_by_side: int) -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(feed=Feed(side_by_side, 160, shares_cores=False))
        reranker = open_reranker(encoder)
        blocking = ask(reranker, 900, 16 * side_by_side)
        await turns()
        asked = [ask(reranker, 100 * one, 50, request_class=one) for one in classes]
        await asyncio.gather(blocking, *asked)
        order = [number // 100 for number in itertools.chain(*encoder.begun) if number < 900]
        assert order == sorted(order)
        reranker.close()

    run(main())


def test_pairs_of_like_length_go_together_across_requests() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(feed=Feed(1, 400))
        reranker = open_reranker(encoder)
        blocking = ask(reranker, 1, 1)
        await turns()
        mixed = [
            asyncio.create_task(
                reranker.score("q", [f"{n}1 100", f"{n}2 20", f"{n}3 96"], errand())
            )
            for n in (1, 2)
        ]
        await asyncio.gather(blocking, *mixed)
        assert encoder.lengths[1:] == [[100, 96, 100, 96], [20, 20]]
        reranker.close()

    run(main())


def test_an_idle_lane_takes_what_is_there_at_once() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        started = asyncio.get_running_loop().time()
        await asyncio.gather(ask(reranker, 1, 1), ask(reranker, 5, 3))
        assert encoder.begun == [[1, 5, 6, 7]]  # what comes in one turn is seen together
        assert encoder.begun_at == [started]
        reranker.close()

    run(main())


# Joined pairs


def test_equal_pairs_are_scored_once_for_all() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        tasks = [ask(reranker, 1, 40) for _ in range(3)]
        await asyncio.sleep(0.17)
        tasks += [ask(reranker, 11, 40)]
        for task in tasks[:3]:
            assert scores_of(await task) == [float(n) for n in range(1, 41)]
        assert scores_of(await tasks[3]) == [float(n) for n in range(11, 51)]
        flat = sorted(itertools.chain(*encoder.begun))
        assert flat == sorted([*range(1, 51), *range(11, 17)])  # these were done when it came
        twice = await reranker.score("q", texts([7, 7, 7, 8]), errand())
        assert scores_of(twice) == [7.0, 7.0, 7.0, 8.0]
        reranker.close()

    run(main())


def test_a_joined_pair_comes_at_the_best_turn_of_all_who_wait() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        blocking = ask(reranker, 900, 1)
        await turns()
        offline = ask(reranker, 1, 48, request_class=OFFLINE)
        prefetch = ask(reranker, 500, 16, request_class=PREFETCH)
        await turns()
        urgent = ask(reranker, 33, 16)
        await asyncio.gather(blocking, offline, prefetch, urgent)
        starts = [batch[0] for batch in encoder.begun]
        assert starts == [900, 33, 500, 1, 17]
        reranker.close()

    run(main())


def test_who_leaves_hands_what_is_joined_on() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        blocking = ask(reranker, 900, 1)
        await turns()
        first, second = ask(reranker, 1, 32), ask(reranker, 9, 16)
        await turns()
        first.cancel()
        assert scores_of(await second) == [float(n) for n in range(9, 25)]
        await blocking
        assert sorted(itertools.chain(*encoder.begun[1:])) == list(range(9, 25))
        reranker.close()

    run(main())


# Those who leave


@given(st.integers(0, 60), st.integers(1, 2), st.booleans())
def test_cancelled_at_any_moment_it_leaves_nothing_behind(
    steps: int, side_by_side: int, other_waits: bool
) -> None:
    """After so many turns of the loop, or so many hundredths of a second."""

    async def main() -> None:
        encoder = TimedCrossEncoder(feed=Feed(side_by_side, 160))
        reranker = open_reranker(encoder)
        other = ask(reranker, 1000, 40) if other_waits else None
        task = ask(reranker, 1, 80)
        for step in range(steps):
            await asyncio.sleep(0 if step < 10 else 0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        begun = len(encoder.begun)
        mine = set(range(1, 81))
        await asyncio.sleep(5)
        assert not mine & set(itertools.chain(*encoder.begun[begun:]))
        if other is not None:
            assert scores_of(await other) == [float(n) for n in range(1000, 1040)]
        assert reranker.is_idle
        reranker.close()

    run(main())


def test_a_batch_is_cancelled_only_when_nobody_waits_for_any_of_it() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        labels = ("FIRST_RERANK", "timed")
        wasted = metrics.WASTED_PAIRS.labels(*labels)._value.get()
        one, other = ask(reranker, 1, 4), ask(reranker, 11, 4)
        await turns()
        assert encoder.begun == [[1, 2, 3, 4, 11, 12, 13, 14]]
        one.cancel()
        await turns()
        assert encoder.cancelled == []
        late = ask(reranker, 1, 2)  # joins what runs on for the other
        await turns()
        other.cancel()
        await turns()
        assert encoder.cancelled == []
        assert scores_of(await late) == [1.0, 2.0]
        assert metrics.WASTED_PAIRS.labels(*labels)._value.get() == wasted + 6
        last = ask(reranker, 21, 4)
        await turns()
        last.cancel()
        await turns()
        assert encoder.cancelled == [[21, 22, 23, 24]]
        again = await ask(reranker, 21, 4)  # nobody joins what was cancelled
        assert scores_of(again) == [21.0, 22.0, 23.0, 24.0]
        assert reranker.is_idle
        reranker.close()

    run(main())


def test_the_next_begins_as_soon_as_a_batch_is_cancelled() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(seconds=0.5)
        reranker = open_reranker(encoder)
        task, other = ask(reranker, 1, 16), ask(reranker, 101, 16)
        await asyncio.sleep(0.1)
        started = asyncio.get_running_loop().time()
        task.cancel()
        await turns()
        assert encoder.begun_at[1:] == [started]
        await other
        reranker.close()

    run(main())


# Bounds


def test_a_full_queue_refuses_whole_requests_and_recovers() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder, queue_tokens=1000)
        await reranker.warm_up()
        await reranker.score("q", texts(range(200)), errand())  # an empty one takes any request
        tasks = [ask(reranker, 1000, 50), ask(reranker, 2000, 50)]
        await turns()
        with pytest.raises(OverloadedError, match="too much waits for timed") as refusal:
            await reranker.score("q", texts(range(3000, 3100)), errand())
        assert 0.5 < refusal.value.retry_seconds < 1.5  # 840 tokens or so, at a millisecond
        assert (await asyncio.gather(*tasks))[1].pairs[49].score == 2049.0
        assert len((await reranker.score("q", texts(range(50)), errand())).pairs) == 50
        reranker.close()

    run(main())


def test_nothing_waits_longer_than_it_may() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder, queue_seconds=0.5)
        await reranker.warm_up()
        loop = asyncio.get_running_loop()
        started = loop.time()
        interactive = ask(reranker, 1, 320)  # 3.2 s
        offline = ask(reranker, 1000, 320, request_class=OFFLINE)
        with pytest.raises(OverloadedError, match=r"came to no pair within 0\.5 s"):
            await offline
        assert loop.time() - started == pytest.approx(0.5)
        # One that advances may take its time.
        assert len((await interactive).pairs) == 320
        reranker.close()

    run(main())


def test_who_advanced_keeps_what_it_has() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder, queue_seconds=0.5)
        offline = ask(reranker, 1000, 64, request_class=OFFLINE)
        await asyncio.sleep(0.17)  # its first batch is done, the second runs
        interactive = ask(reranker, 1, 320)
        answer = await offline
        assert scores_of(answer) == [float(n) for n in range(1000, 1032)]
        assert answer.reason is StageReason.OVERLOADED
        await interactive
        reranker.close()

    run(main())


def test_the_gauges_come_back_to_zero() -> None:
    async def main() -> None:
        reranker = open_reranker(TimedCrossEncoder())
        labels = ("FIRST_RERANK", "timed")
        tasks = [ask(reranker, 1000 * n, 40) for n in range(3)]
        await turns()
        assert metrics.QUEUE_PAIRS.labels(*labels)._value.get() > 0
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for gauge in (metrics.QUEUE_PAIRS, metrics.QUEUE_TOKENS, metrics.BREAKER_STATE):
            assert gauge.labels(*labels)._value.get() == 0
        reranker.close()

    run(main())
