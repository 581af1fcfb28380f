"""Forecasts: worked by hand, and against what then happens in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reranking import TimedCrossEncoder, errand, open_reranker, run, texts, turns

from sidecar.models.base import Feed
from sidecar.rerank.forecast import Forecast, Rivals
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.reranker import Reranker
from sidecar.types import RequestClass, Stage

INTERACTIVE, OFFLINE = RequestClass.INTERACTIVE, RequestClass.OFFLINE
SIZES = st.lists(st.floats(0, 1e5), max_size=12)


@given(SIZES, st.floats(0, 1e5))
def test_rivals_hold_up_by_their_own_and_at_most_mine(sizes: list[float], mine: float) -> None:
    expected = sum(min(size, mine) for size in sizes)
    assert Rivals.of(sizes).before(mine) == pytest.approx(expected)


@given(SIZES, SIZES, st.integers(0, 5000), st.integers(0, 5000))
def test_more_tokens_never_take_less(
    requests: list[float], callers: list[float], one: int, other: int
) -> None:
    forecast = Forecast(
        available=True,
        seconds_per_token=0.01,
        lanes=2,
        ahead_seconds=0.3,
        first_free_seconds=0.1,
        indivisible_tokens=256,
        requests=Rivals.of(requests),
        callers=Rivals.of(callers),
    )
    fewer, more = sorted((one, other))
    assert forecast.seconds_for(fewer) <= forecast.seconds_for(more) + 1e-9


@pytest.mark.parametrize(
    ("forecast", "tokens", "seconds"),
    [
        (Forecast(True, seconds_per_token=0.01), 0, 0.0),
        (Forecast(True, seconds_per_token=0.01), 100, 1.0),
        (Forecast(True, seconds_per_token=0.01, lanes=2), 100, 0.5),
        # The smallest batch is not spread over two lanes.
        (Forecast(True, seconds_per_token=0.01, lanes=2, indivisible_tokens=80), 100, 0.8),
        # 3 s of others' work on both of two lanes, the first of which is free after 1 s.
        (Forecast(True, "", 0.01, 2, 3.0, 1.0), 100, 3.0 + 1.0 / 2),
        (Forecast(True, "", 0.01, 2, 3.0, 2.9, 100), 100, 2.9 + 1.0),
        # Another request of mine of 30 tokens, and one of 1,000: 100 + 30 + 100.
        (Forecast(True, "", 0.01, requests=Rivals.of([30, 1000])), 100, 2.3),
        # ... and a caller with 150 and one with 10,000: 230 + 150 + 230.
        (
            Forecast(
                True, "", 0.01, requests=Rivals.of([30, 1000]), callers=Rivals.of([150, 10_000])
            ),
            100,
            6.1,
        ),
    ],
)
def test_worked_forecasts(forecast: Forecast, tokens: int, seconds: float) -> None:
    assert forecast.seconds_for(tokens) == pytest.approx(seconds)


async def seconds_to_score(reranker: Reranker, numbers: range, tokens: int, caller: str) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await reranker.score("q", texts(numbers, tokens), errand(caller=caller))
    return loop.time() - started


@pytest.mark.parametrize("side_by_side", [1, 2])
@pytest.mark.parametrize(
    "others",
    [[], [("me", 40)], [("me", 8)], [("you", 40)], [("you", 8), ("you", 8), ("me", 40), ("x", 64)]],
)
def test_forecasts_hold(side_by_side: int, others: list[tuple[str, int]]) -> None:
    """Pairs of 20 tokens at a millisecond each; off by no more than the batches under way."""

    async def main() -> None:
        encoder = TimedCrossEncoder(feed=Feed(side_by_side, batch_tokens=160))
        reranker = open_reranker(encoder)
        await reranker.warm_up()
        waiting = [
            asyncio.create_task(
                seconds_to_score(reranker, range(1000 * n, 1000 * n + pairs), 20, caller)
            )
            for n, (caller, pairs) in enumerate(others, 1)
        ]
        await turns()
        forecast = reranker.forecast(INTERACTIVE, "me")
        expected = forecast.seconds_for(24 * 20)
        took = await seconds_to_score(reranker, range(24), 20, "me")
        assert took == pytest.approx(expected, abs=0.16 + 0.16)
        await asyncio.gather(*waiting)
        reranker.close()

    run(main())


def test_better_classes_and_earlier_stages_come_first() -> None:
    async def main() -> None:
        lanes = Lanes(1)
        first = open_reranker(TimedCrossEncoder(), Stage.FIRST_RERANK, lanes)
        second = open_reranker(TimedCrossEncoder(), Stage.SECOND_RERANK, lanes)
        await first.warm_up()
        await second.warm_up()
        alone = second.forecast(INTERACTIVE, "").seconds_for(100)
        work = asyncio.create_task(first.score("q", texts(range(40), 20), errand()))
        await turns()
        assert second.forecast(INTERACTIVE, "").seconds_for(100) == pytest.approx(alone + 0.8)
        assert second.forecast(OFFLINE, "").seconds_for(100) == pytest.approx(alone + 0.8)
        # In the same queue it would share instead: what runs (8 pairs), and as much as its own.
        shared = first.forecast(INTERACTIVE, "").seconds_for(100)
        assert shared == pytest.approx(0.16 + 0.1 + 0.1)
        assert first.forecast(OFFLINE, "").seconds_for(100) == pytest.approx(alone + 0.8)
        await work
        assert second.forecast(INTERACTIVE, "").seconds_for(100) == pytest.approx(alone)
        first.close()
        second.close()

    run(main())


def test_a_small_request_waits_for_the_first_lane_that_is_free() -> None:
    async def main() -> None:
        reranker = open_reranker(TimedCrossEncoder(feed=Feed(2, batch_tokens=160)))
        await reranker.warm_up()
        work = asyncio.create_task(reranker.score("q", texts(range(16), 20), errand()))
        await turns()  # two batches of 0.16 s
        assert reranker.forecast(INTERACTIVE, "").seconds_for(10) == pytest.approx(0.16 + 0.01)
        await work
        reranker.close()

    run(main())


def test_a_model_that_takes_all_cores_waits_for_all_of_them() -> None:
    """One batch of the second stage at a time, on two slots, beside two of the first."""

    async def main() -> None:
        lanes = Lanes(2)
        first = open_reranker(TimedCrossEncoder(feed=Feed(2, 160)), Stage.FIRST_RERANK, lanes)
        second = open_reranker(TimedCrossEncoder(feed=Feed(1, 160)), Stage.SECOND_RERANK, lanes)
        await first.warm_up()
        await second.warm_up()
        alone = second.forecast(INTERACTIVE, "").seconds_for(100)
        assert alone == pytest.approx(0.1)
        work = asyncio.create_task(first.score("q", texts(range(4), 20), errand()))
        await turns()  # 40 tokens on each of two lanes
        expected = second.forecast(INTERACTIVE, "").seconds_for(100)
        assert expected == pytest.approx(0.04 + 0.1)
        started = asyncio.get_running_loop().time()
        await second.score("q", texts([1], 100), errand())
        assert asyncio.get_running_loop().time() - started == pytest.approx(expected)
        await work
        first.close()
        second.close()

    run(main())


def test_later_stages_and_worse_classes_do_not_count() -> None:
    async def main() -> None:
        lanes = Lanes(1)
        first = open_reranker(TimedCrossEncoder(), Stage.FIRST_RERANK, lanes)
        second = open_reranker(TimedCrossEncoder(), Stage.SECOND_RERANK, lanes)
        await first.warm_up()
        await second.warm_up()
        work = [
            asyncio.create_task(second.score("q", texts(range(40), 20), errand())),
            asyncio.create_task(
                first.score("q", texts(range(40), 20), errand(request_class=OFFLINE))
            ),
        ]
        await turns()
        # Only the batch that runs holds it up.
        assert first.forecast(INTERACTIVE, "").seconds_for(100) <= 0.16 + 0.1 + 1e-9
        await asyncio.gather(*work)
        first.close()
        second.close()

    run(main())


def test_a_model_that_is_used_is_given_no_harmless_batches() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        for number in range(1, 20):
            assert reranker.forecast(INTERACTIVE, "").available
            await reranker.score("q", texts([number]), errand())
            await asyncio.sleep(1.5)
        assert encoder.begun == [[number] for number in range(1, 20)]
        reranker.close()

    run(main())


def test_a_pace_that_was_too_slow_is_put_right_by_a_harmless_batch() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(seconds_per_token=1.0)
        reranker = open_reranker(encoder)
        await reranker.warm_up()
        encoder.seconds_per_token = 0.001  # the machine was held up; nobody asks for scores now
        loop = asyncio.get_running_loop()
        for _ in range(40):
            seconds = reranker.forecast(INTERACTIVE, "").seconds_for(160)
            await asyncio.sleep(1.5)
        assert seconds == pytest.approx(0.16)
        assert loop.time() < 1000.0 + 600.0
        assert reranker.is_idle
        reranker.close()

    run(main())
