"""A model that raises, returns NaN, is lost or stalls: who is hurt, and for how long."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reranking import (
    HARMLESS,
    TimedCrossEncoder,
    VirtualLoop,
    errand,
    open_reranker,
    run,
    scores_of,
    texts,
    turns,
    until_idle,
)

from sidecar.errors import ModelError, ModelUnavailableError
from sidecar.models.base import Feed
from sidecar.rerank.breaker import LOSSES_TO_OPEN
from sidecar.rerank.reranker import Reranker
from sidecar.types import RequestClass, StageReason, UnscoredReason


def raising(culprits: set[int]):  # type: ignore[no-untyped-def]
    """A fault: any batch with one of these raises."""

    def fault(numbers: list[int]) -> None:
        if culprits & set(numbers):
            raise ModelError("no")

    return fault


def contaminating(culprits: set[int]):  # type: ignore[no-untyped-def]
    """A fault: a batch with one of these is NaN from end to end."""
    return lambda numbers: set(numbers) if culprits & set(numbers) else None


@given(st.sets(st.integers(1, 16), max_size=6), st.sampled_from([raising, contaminating]))
def test_culprits_are_found_at_a_bounded_price(culprits: set[int], kind) -> None:  # type: ignore[no-untyped-def]
    async def main() -> None:
        encoder = TimedCrossEncoder(fault=kind(culprits))
        reranker = open_reranker(encoder)
        answer = await reranker.score("q", texts(range(1, 17)), errand())
        for number, pair in enumerate(answer.pairs, start=1):
            assert pair.score == (None if number in culprits else number)
            reason = UnscoredReason.NOT_FINITE if number in culprits else UnscoredReason.NONE
            assert pair.reason is reason
        asked = [batch for batch in encoder.begun if batch != [HARMLESS]]
        assert len(asked) <= 1 + 2 * len(culprits) * math.log2(16)
        await until_idle(reranker)
        reranker.close()

    run(main())


def test_the_parts_of_a_failed_batch_come_before_the_others() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(fault=raising({5}))
        reranker = open_reranker(encoder)
        both = [reranker.score("q", texts(range(n, n + 16)), errand()) for n in (1, 101)]
        await asyncio.gather(*both)
        assert encoder.begun == [
            list(range(1, 17)),
            [HARMLESS],
            [1, 2, 3, 4, 5, 6, 7, 8],
            [1, 2, 3, 4],
            [5, 6, 7, 8],
            [5, 6],
            [5],
            [6],
            [7, 8],
            list(range(9, 17)),
            list(range(101, 117)),
        ]
        reranker.close()

    run(main())


def test_the_part_of_one_who_left_is_not_asked_again() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(fault=raising({3}))
        reranker = open_reranker(encoder)
        one, other, third = (
            asyncio.create_task(reranker.score("q", texts(numbers), errand()))
            for numbers in ([1, 2, 11, 12], [3, 4], [21, 22])
        )
        await turns()
        assert encoder.begun == [[3, 4, 21, 22, 1, 2, 11, 12]]
        one.cancel()
        await asyncio.gather(one, third, return_exceptions=True)
        assert scores_of(await other) == [None, 4.0]
        assert [HARMLESS] in encoder.begun
        begun = [batch for batch in encoder.begun[1:] if batch != [HARMLESS]]
        assert not {1, 2, 11, 12} & {number for batch in begun for number in batch}
        await until_idle(reranker)
        reranker.close()

    run(main())


def test_parts_that_nobody_waits_for_any_more_are_dropped() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(fault=raising({1, 9, 16}))
        reranker = open_reranker(encoder)
        one, other = (
            asyncio.create_task(reranker.score("q", texts(range(n, n + 8)), errand()))
            for n in (1, 9)
        )
        await asyncio.sleep(0.165)  # it has failed, and the harmless pair is tried
        assert encoder.begun == [list(range(1, 17)), [HARMLESS]]
        other.cancel()
        await one
        await until_idle(reranker)
        assert not {9, 16} & {number for batch in encoder.begun[1:] for number in batch}
        reranker.close()

    run(main())


def test_single_nans_are_not_asked_again() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(fault=lambda numbers: {3, 5})
        reranker = open_reranker(encoder)
        answer = await reranker.score("q", texts(range(1, 9)), errand())
        assert scores_of(answer) == [1.0, 2.0, None, 4.0, None, 6.0, 7.0, 8.0]
        assert encoder.begun == [list(range(1, 9))]
        reranker.close()

    run(main())


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_infinite_is_not_a_score(odd: float) -> None:
    async def main() -> None:
        class Odd(TimedCrossEncoder):
            async def score(self, pairs):  # type: ignore[no-untyped-def]
                return np.array([odd, *([1.0] * (len(pairs) - 1))], dtype=np.float32)

        reranker = open_reranker(Odd())
        answer = await reranker.score("q", texts(range(4)), errand())
        assert scores_of(answer) == [None, 1.0, 1.0, 1.0]
        reranker.close()

    run(main())


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 1)])
def test_scores_of_another_shape_are_an_error(shape: tuple[int, ...]) -> None:
    async def main() -> None:
        class Odd(TimedCrossEncoder):
            async def score(self, pairs):  # type: ignore[no-untyped-def]
                return np.zeros(shape if len(pairs) == 4 else (len(pairs) + 1,), dtype=np.float32)

        reranker = open_reranker(Odd())
        with pytest.raises(ModelError, match="must return one a pair"):
            await reranker.score("q", texts(range(4)), errand())
        await until_idle(reranker)
        reranker.close()

    run(main())


def test_poisonous_lists_do_not_take_a_model_down() -> None:
    async def main() -> None:
        reranker = open_reranker(TimedCrossEncoder(fault=raising(set(range(100, 200)))))
        for _ in range(10):
            with pytest.raises(ModelError, match="on every pair"):
                await reranker.score("q", texts(range(100, 110)), errand())
            assert reranker.forecast(RequestClass.INTERACTIVE, "").available
        assert scores_of(await reranker.score("q", texts([1]), errand())) == [1.0]
        reranker.close()

    run(main())


async def until_available(reranker: Reranker, seconds: float) -> float:
    """Virtual seconds until the model is asked again."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not reranker.forecast(RequestClass.INTERACTIVE, "").available:
        await asyncio.sleep(0.01)
        assert loop.time() - started < seconds
    return loop.time() - started


def everything(numbers: list[int]) -> set[int]:
    return set(numbers)


def test_a_broken_model_is_asked_no_more_until_it_scores_a_harmless_pair() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(fault=everything)
        reranker = open_reranker(encoder)
        with pytest.raises(ModelError):
            await reranker.score("q", texts(range(1, 40)), errand())
        await turns()
        begun = len(encoder.begun)
        assert not reranker.forecast(RequestClass.INTERACTIVE, "").available
        with pytest.raises(
            ModelUnavailableError, match="timed is not asked for now: timed returned"
        ):
            await reranker.score("q", texts([1]), errand())
        assert begun <= 6  # a batch, the harmless pair, and what came back for the batch meanwhile
        await asyncio.sleep(100)
        assert {HARMLESS} == {number for batch in encoder.begun[begun:] for number in batch}
        assert 5 <= len(encoder.begun) - begun <= 9  # the back-off doubles
        encoder.fault = None
        await until_available(reranker, 31)
        assert scores_of(await reranker.score("q", texts([1]), errand())) == [1.0]
        reranker.close()

    run(main())


def test_a_lost_model_fails_the_batch_it_was_lost_with_and_soon_all() -> None:
    async def main() -> None:
        def lost(numbers: list[int]) -> None:
            raise ModelUnavailableError("connection refused")

        encoder = TimedCrossEncoder(fault=lost)
        reranker = open_reranker(encoder)
        for number in range(LOSSES_TO_OPEN):
            with pytest.raises(ModelUnavailableError, match="connection refused"):
                await reranker.score("q", texts(range(20)), errand())
            assert len(encoder.begun) == number + 1  # neither split nor asked for the others
        with pytest.raises(ModelUnavailableError, match="not asked for now: connection refused"):
            await reranker.score("q", texts([1]), errand())
        assert len(encoder.begun) == LOSSES_TO_OPEN
        encoder.fault = None
        assert await until_available(reranker, 1.0) >= 0.5
        reranker.close()

    run(main())


def test_who_has_a_prefix_keeps_it_when_the_model_is_lost() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)

        def lost(numbers: list[int]) -> None:
            if 20 in numbers:
                raise ModelUnavailableError("gone")

        encoder.fault = lost
        answer = await reranker.score("q", texts(range(40)), errand())
        assert scores_of(answer) == [float(n) for n in range(16)]
        assert (answer.reason, answer.detail) == (StageReason.MODEL_UNAVAILABLE, "gone")
        assert len(encoder.begun) == 2
        reranker.close()

    run(main())


@pytest.mark.parametrize("deaf", [False, True])
def test_a_stalled_model_is_asked_no_more_until_it_answers(deaf: bool) -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(feed=Feed(2, 160))
        encoder.stuck, encoder.deaf = True, deaf
        reranker = open_reranker(encoder)
        loop = asyncio.get_running_loop()
        started = loop.time()
        requests = [
            asyncio.create_task(reranker.score("q", texts(range(n, n + 20)), errand(30)))
            for n in (0, 100, 200)
        ]
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ModelUnavailableError] * 3
        # The third is given the place of one that stalled, and its turn to stall, unless that
        # place is never free again.
        assert loop.time() - started == pytest.approx(2.0, abs=0.1)
        with pytest.raises(ModelUnavailableError, match=r"did not come back within 1\.0 s"):
            await reranker.score("q", texts([1]), errand())
        await asyncio.sleep(10)
        assert not reranker.forecast(RequestClass.INTERACTIVE, "").available
        encoder.stuck = False
        await until_available(reranker, 11)
        assert scores_of(await reranker.score("q", texts([1]), errand())) == [1.0]
        await until_idle(reranker)
        reranker.close()

    run(main())


def test_a_batch_that_fails_while_the_model_is_not_asked_is_not_split() -> None:
    async def main() -> None:
        def lost_or_broken(numbers: list[int]) -> set[int]:
            if numbers[0] < 100:
                raise ModelUnavailableError("gone")
            return set(numbers)

        encoder = TimedCrossEncoder(feed=Feed(2, 160, shares_cores=False), fault=lost_or_broken)
        reranker = open_reranker(encoder)
        broken = asyncio.create_task(reranker.score("q", texts(range(101, 117)), errand()))
        await turns()
        for number in range(LOSSES_TO_OPEN):  # 0.01 s each, beside the 0.16 s of the other
            with pytest.raises(ModelUnavailableError, match="gone"):
                await reranker.score("q", texts([number + 1]), errand())
        with pytest.raises(ModelUnavailableError, match="no finite score"):
            await broken  # and none of its pairs is called a culprit
        assert [len(batch) for batch in encoder.begun] == [16, 1, 1, 1]
        encoder.fault = None
        await until_available(reranker, 2)
        await until_idle(reranker)
        reranker.close()

    run(main())


def test_who_is_being_scored_when_another_batch_stalls_gets_its_scores() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(feed=Feed(2, 160, shares_cores=False), seconds=0.5)
        encoder.stuck = True
        reranker = open_reranker(encoder)
        stuck = asyncio.create_task(reranker.score("q", texts(range(16)), errand()))
        await asyncio.sleep(0.9)  # it will have stalled after a second
        encoder.stuck = False
        other = asyncio.create_task(reranker.score("q", texts(range(20, 36)), errand()))
        outcomes = await asyncio.gather(stuck, other, return_exceptions=True)
        assert isinstance(outcomes[0], ModelUnavailableError)
        assert scores_of(outcomes[1]) == [float(n) for n in range(20, 36)]
        assert reranker.forecast(RequestClass.INTERACTIVE, "").available  # it answers, after all
        await until_idle(reranker)
        reranker.close()

    run(main())


def test_one_harmless_pair_is_tried_at_a_time() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(feed=Feed(3, 160, shares_cores=False), fault=raising({5, 25}))
        reranker = open_reranker(encoder)
        both = [reranker.score("q", texts(range(n, n + 16)), errand()) for n in (1, 21)]
        await asyncio.gather(*both)
        assert encoder.begun.count([HARMLESS]) == 1
        await until_idle(reranker)
        reranker.close()

    run(main())


def test_a_loop_that_was_held_up_is_not_a_stalled_model() -> None:
    async def main() -> None:
        reranker = open_reranker(TimedCrossEncoder())
        task = asyncio.create_task(reranker.score("q", texts(range(16)), errand()))
        await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.hold_up(5.0)
        assert len((await task).pairs) == 16
        assert reranker.forecast(RequestClass.INTERACTIVE, "").available
        reranker.close()

    run(main())


def test_one_batch_that_stalls_costs_its_own_requests_only() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        encoder.stuck = True
        reranker = open_reranker(encoder)
        stuck = asyncio.create_task(reranker.score("q", texts(range(16)), errand()))
        await turns()
        waiting = asyncio.create_task(reranker.score("q", texts(range(20, 36)), errand()))
        await asyncio.sleep(0.5)
        encoder.stuck = False  # the machine was held up; but for that batch it goes on
        outcomes = await asyncio.gather(stuck, waiting, return_exceptions=True)
        assert isinstance(outcomes[0], ModelUnavailableError)
        assert scores_of(outcomes[1]) == [float(n) for n in range(20, 36)]
        assert encoder.begun[1:] == [[HARMLESS], list(range(20, 36))]
        await until_idle(reranker)
        reranker.close()

    run(main())


def test_a_request_that_ends_before_the_stall_is_not_hurt_by_it() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        encoder.stuck = True
        reranker = open_reranker(encoder)
        answer = await reranker.score("q", texts(range(20)), errand(0.3))
        assert (answer.pairs, answer.reason) == ((), StageReason.DEADLINE)
        await turns()
        assert reranker.is_idle
        assert len(encoder.cancelled) == 1
        reranker.close()

    run(main())


def test_a_batch_that_ignores_that_it_is_cancelled_is_found_out() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        encoder.stuck = encoder.deaf = True
        reranker = open_reranker(encoder)
        await reranker.score("q", texts(range(4)), errand(0.3))
        assert not reranker.is_idle
        assert reranker.forecast(RequestClass.INTERACTIVE, "").available
        await asyncio.sleep(2.0)
        assert not reranker.forecast(RequestClass.INTERACTIVE, "").available
        encoder.stuck = False
        await until_available(reranker, 10)
        reranker.close()

    run(main())


def test_an_encoder_that_gives_up_by_itself_is_a_lost_one() -> None:
    async def main() -> None:
        class Quitter(TimedCrossEncoder):
            async def score(self, pairs):  # type: ignore[no-untyped-def]
                raise asyncio.CancelledError

        reranker = open_reranker(Quitter())
        with pytest.raises(ModelUnavailableError, match="timed gave a batch up"):
            await reranker.score("q", texts(range(4)), errand())
        reranker.close()

    run(main())


def test_closing_fails_what_waits() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        task = asyncio.create_task(reranker.score("q", texts(range(40)), errand()))
        await asyncio.sleep(0.01)
        reranker.close()
        with pytest.raises(ModelUnavailableError, match="is being shut down"):
            await task
        await turns()
        assert len(encoder.cancelled) == 1

    run(main())
