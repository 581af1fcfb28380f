"""A reranker that is warmed up beside one that serves, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from reranking import TimedCrossEncoder, errand, open_reranker, run, scores_of, texts

from sidecar.errors import ModelError
from sidecar.models.base import ScorablePair, Scores
from sidecar.models.foreground import PATIENCE_SECONDS, foreground
from sidecar.rerank.batcher import SMALLEST_SHARE
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.reranker import Reranker

ONE_BATCH_SECONDS = 0.16


async def seconds_of(serving: Reranker) -> float:
    """That a request of the serving reranker takes."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    answer = await serving.score("q", texts(range(60)), errand(30.0))
    assert scores_of(answer) == [float(number) for number in range(60)]
    return loop.time() - started


def test_it_costs_requests_at_most_the_batch_that_they_find_under_way() -> None:
    async def main() -> None:
        lanes = Lanes(1)
        serving = open_reranker(TimedCrossEncoder(), lanes=lanes)
        newcomer = open_reranker(TimedCrossEncoder(name="new"), lanes=lanes)
        await serving.warm_up()
        alone = await seconds_of(serving)
        first = asyncio.create_task(seconds_of(serving))
        await asyncio.sleep(0.01)
        warming = asyncio.create_task(newcomer.warm_up_behind())
        assert await first == pytest.approx(alone)
        await asyncio.sleep(0.01)
        assert await seconds_of(serving) <= alone + ONE_BATCH_SECONDS + 1e-6
        await warming
        serving.close()
        newcomer.close()

    run(main())


def test_on_a_machine_that_is_never_idle_it_comes_to_its_end_all_the_same() -> None:
    async def main() -> None:
        lanes = Lanes(1)
        serving = open_reranker(TimedCrossEncoder(), lanes=lanes)
        newcomer = open_reranker(TimedCrossEncoder(name="new"), lanes=lanes)
        done = asyncio.Event()

        async def ask() -> None:
            while not done.is_set():
                await seconds_of(serving)

        callers = [asyncio.create_task(ask()) for _ in range(3)]
        await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            await newcomer.warm_up_behind()
        done.set()
        await asyncio.gather(*callers)
        serving.close()
        newcomer.close()

    run(main())


def test_its_batches_begin_between_requests_and_are_small() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        newcomer = open_reranker(encoder)
        with foreground().answering():
            warming = asyncio.create_task(newcomer.warm_up_behind())
            await asyncio.sleep(0.5 * PATIENCE_SECONDS)
            assert len(encoder.begun) == 1  # the harmless pair, which has to be timed
            ended = asyncio.get_running_loop().time()
        await warming
        assert ended <= encoder.begun_at[1] < 0.9 * PATIENCE_SECONDS + encoder.begun_at[0]
        most = encoder.feed.batch_tokens // SMALLEST_SHARE
        assert all(len(lengths) == 1 or sum(lengths) <= most for lengths in encoder.lengths)
        newcomer.close()

    run(main())


class SlowAtFirst(TimedCrossEncoder):
    """Takes longer for each of its first batches."""

    async def score(self, pairs: Sequence[ScorablePair]) -> Scores:
        self.seconds_per_token = 0.02 if len(self.begun) < 17 else 0.001
        return await super().score(pairs)


def test_its_pace_is_that_of_a_warm_model() -> None:
    async def main() -> None:
        newcomer = open_reranker(SlowAtFirst())
        await newcomer.warm_up_behind()
        assert newcomer.work_seconds(1000) == pytest.approx(1.0)
        newcomer.close()

    run(main())


def test_a_model_that_gives_no_numbers_does_not_survive_it() -> None:
    async def main() -> None:
        newcomer = open_reranker(TimedCrossEncoder(fault=set))
        with pytest.raises(ModelError, match="no finite score"):
            await newcomer.warm_up_behind()
        newcomer.close()

    run(main())
