"""Thousands of good, bad, cancelled and vanishing requests: nothing is left, nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import math
import random

import pytest
from reranking import TimedCrossEncoder, errand, open_reranker, run, turns, until_idle

from sidecar.errors import ModelError, OverloadedError
from sidecar.models.base import Feed
from sidecar.rerank.errand import StageScores
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.reranker import Reranker
from sidecar.rerank.score_cache import ScoreCache
from sidecar.rerank.work import Batch, PairWork, QueuedRequest
from sidecar.types import RequestClass, Stage, StageReason

REQUESTS = 2000
NAN, RAISES, LOST = range(900, 930), range(930, 940), 940


class Troubled(TimedCrossEncoder):
    """Fails on some numbers in each way, and now and then takes no notice of anything."""

    def __init__(self, chance: random.Random, feed: Feed) -> None:
        super().__init__(0.0001, feed=feed, fault=self._fault)
        self._chance = chance

    def _fault(self, numbers: list[int]) -> set[int]:
        if set(RAISES) & set(numbers):
            raise ModelError("no")
        return set(NAN) & set(numbers)

    async def _compute(self, seconds: float) -> None:
        trouble = self._chance.random()
        await super()._compute(seconds + (3.0 if trouble < 0.003 else 0.0))


def check(answer: StageScores, numbers: list[int | None]) -> None:
    """Every passage of the prefix has its own score, or none for the right reason."""
    assert len(answer.pairs) <= len(numbers)
    assert (answer.reason is StageReason.NONE) == (len(answer.pairs) == len(numbers))
    for pair, number in zip(answer.pairs, numbers, strict=False):
        if number is None or number in NAN or number in RAISES:
            assert pair.score is None
        else:
            assert pair.score == float(number)


async def one_request(reranker: Reranker, chance: random.Random) -> str:
    """Asks for something, waits or vanishes; what became of it."""
    limit = chance.choice([300, 300, 1000])
    numbers: list[int | None] = [chance.randrange(limit) for _ in range(chance.randrange(60))]
    if chance.random() < 0.2:
        numbers = [None if chance.random() < 0.3 else number for number in numbers]
    passages = [chance.choice([None, " "]) if n is None else f"{n} {10 + n % 50}" for n in numbers]
    of = errand(
        chance.choice([-1.0, 0.01, 0.1, 0.5, 10.0, math.inf]),
        request_class=chance.choice(list(RequestClass)),
        caller=chance.choice("abc"),
        use_cache=chance.random() < 0.7,
    )
    task = asyncio.create_task(reranker.score(chance.choice("pq"), passages, of))
    if chance.random() < 0.3:
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.05, 0.5]))
        task.cancel()
    try:
        answer = await task
    except asyncio.CancelledError:
        return "cancelled"
    except (ModelError, OverloadedError) as error:
        return type(error).__name__
    check(answer, numbers)
    return answer.reason.name


def leftovers() -> list[object]:
    """What requests and batches are made of, and is still alive."""
    return [one for one in gc.get_objects() if isinstance(one, QueuedRequest | PairWork | Batch)]


def test_good_calls_leave_nothing_for_the_garbage_collector() -> None:
    async def main() -> None:
        reranker = open_reranker(TimedCrossEncoder(feed=Feed(2, 320)), cache=ScoreCache(20_000))
        gc.collect()
        gc.disable()
        try:
            passages = [f"{number} {10 + number % 7}" for number in range(50)]
            await asyncio.gather(*(reranker.score(q, passages, errand()) for q in "abc"))
            await turns()
            assert leftovers() == []
        finally:
            gc.enable()
        reranker.close()

    run(main())


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_left(seed: int) -> None:
    async def main() -> None:
        chance = random.Random(seed)
        lanes, cache = Lanes(2), ScoreCache(20_000)
        stages = (Stage.FIRST_RERANK, Stage.SECOND_RERANK)
        feeds = (Feed(2, 320), Feed(1, 200, pads=False))
        rerankers = [
            open_reranker(
                Troubled(chance, feed), stage, lanes, cache, queue_tokens=12_000, queue_seconds=2.0
            )
            for stage, feed in zip(stages, feeds, strict=True)
        ]
        tasks = []
        for _ in range(REQUESTS):
            tasks.append(asyncio.create_task(one_request(chance.choice(rerankers), chance)))
            await asyncio.sleep(chance.choice([0, 0, 0.01, 0.1]))
        became = await asyncio.gather(*tasks)
        for reranker in rerankers:
            await until_idle(reranker)
        await turns()
        assert lanes.busy == 0
        expected = {"NONE", "cancelled", "DEADLINE", "OverloadedError", "ModelUnavailableError"}
        assert set(became) >= expected, set(became)
        assert became.count("NONE") > REQUESTS / 4
        del tasks
        gc.collect()
        assert leftovers() == []
        for reranker in rerankers:
            reranker.close()

    run(main())
