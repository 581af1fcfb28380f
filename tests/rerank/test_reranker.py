import asyncio
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import FakeCrossEncoder

from sidecar.config import RerankerConfig
from sidecar.errors import ModelError, OverloadedError
from sidecar.rerank.reranker import Reranker
from sidecar.types import Stage, UnscoredReason


@pytest.fixture
def opened() -> Iterator[Any]:
    rerankers: list[Reranker] = []

    def open_reranker(
        fake: FakeCrossEncoder, batch_size: int = 4, weight: float = -1.0, **options: Any
    ) -> Reranker:
        config = RerankerConfig(model="fake", batch_size=batch_size, weight=weight)
        rerankers.append(Reranker(Stage.FIRST_RERANK, fake, config, **options))
        return rerankers[-1]

    yield open_reranker
    for reranker in rerankers:
        reranker.close()


class Gate:
    """Holds the worker thread in its first batch until `release`; says when it got there."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, pairs: object) -> None:
        self.reached.set()
        assert self.opened.wait(10)

    async def wait_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 10)


async def test_scores_are_in_the_order_of_the_passages(opened: Any) -> None:
    passages = ["one " * length + "red bike" for length in (9, 1, 30, 4, 2)] + ["red", "blue"]
    scores = await opened(FakeCrossEncoder()).score("red bike", passages)
    assert [one.score for one in scores] == [1.0] * 5 + [0.5, 0.0]
    assert [one.token_count for one in scores] == [2 + len(p.split()) + 3 for p in passages]


async def test_truncated_pairs_say_so(opened: Any) -> None:
    short, long = await opened(FakeCrossEncoder()).score("red", ["red", "x " * 257 + "red"])
    assert (short.truncated, short.score) == (False, 1.0)
    assert (long.truncated, long.score, long.token_count) == (True, 0.0, 1 + 258 + 3)


async def test_empty_passages_and_nan_do_not_cost_the_list(opened: Any) -> None:
    fake = FakeCrossEncoder(nan_words=["bad"])
    scores = await opened(fake).score("red", ["red", "", " \n", "bad red", "blue"])
    assert [one.score for one in scores] == [1.0, None, None, None, 0.0]
    reasons = [one.reason for one in scores]
    empty, not_finite = UnscoredReason.EMPTY_TEXT, UnscoredReason.NOT_FINITE
    assert reasons == [UnscoredReason.NONE, empty, empty, not_finite, UnscoredReason.NONE]


async def test_a_pair_that_raises_stands_alone(opened: Any) -> None:
    fake = FakeCrossEncoder(raise_words=["bad"])
    passages = [f"red {number}" for number in range(20)]
    passages[13] = "bad"
    scores = await opened(fake, batch_size=8).score("red", passages)
    assert [one.score for one in scores] == [None if i == 13 else 1.0 for i in range(20)]
    assert scores[13].reason is UnscoredReason.NOT_FINITE


async def test_a_model_that_fails_on_everything_is_an_error(opened: Any) -> None:
    with pytest.raises(ModelError, match="fake-overlap failed on every pair"):
        await opened(FakeCrossEncoder(raise_words=["red"])).score("red", ["red", "red a", ""])


async def test_nothing_to_score(opened: Any) -> None:
    fake = FakeCrossEncoder()
    assert await opened(fake).score("red", []) == []
    assert [one.score for one in await opened(fake).score("red", [""])] == [None]
    assert fake.batches == []


async def test_a_cancelled_request_stops_after_the_batch_under_way(opened: Any) -> None:
    gate = Gate()
    fake = FakeCrossEncoder(before_score=gate)
    reranker = opened(fake, batch_size=2)
    request = asyncio.create_task(reranker.score("red", ["red"] * 20))
    await gate.wait_reached()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert reranker.queued_pairs == 0
    gate.opened.set()
    assert [one.score for one in await reranker.score("red", ["red"])] == [1.0]
    assert fake.batches == [2, 1]


async def test_requests_interleave(opened: Any) -> None:
    gate = Gate()
    seen: list[str] = []

    async def ask(name: str, pairs: int) -> None:
        await reranker.score("red", ["red"] * pairs)
        seen.append(name)

    reranker = opened(FakeCrossEncoder(before_score=gate), batch_size=1)
    large = asyncio.create_task(ask("large", 30))
    await gate.wait_reached()
    small = asyncio.create_task(ask("small", 2))
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.gather(large, small)
    assert seen == ["small", "large"]


async def test_a_full_queue_refuses_and_recovers(opened: Any) -> None:
    gate = Gate()
    reranker = opened(FakeCrossEncoder(before_score=gate), queue_capacity_pairs=10)
    first = asyncio.create_task(reranker.score("red", ["red"] * 8))
    await gate.wait_reached()
    assert reranker.queued_pairs == 8
    with pytest.raises(OverloadedError) as caught:
        await reranker.score("red", ["red"] * 3)
    assert caught.value.retry_seconds > 0
    gate.opened.set()
    assert len(await first) == 8
    assert len(await reranker.score("red", ["red"] * 3)) == 3


async def test_lanes_run_batches_side_by_side(opened: Any) -> None:
    barrier = threading.Barrier(3)
    fake = FakeCrossEncoder(before_score=lambda pairs: barrier.wait(10) and None, concurrency=3)
    scores = await opened(fake, batch_size=2).score("red", ["red"] * 12)
    assert [one.score for one in scores] == [1.0] * 12  # a broken barrier would give NaN
    assert all(math.isfinite(one.score) for one in scores)


def test_weight_is_configured_or_the_contracts(opened: Any) -> None:
    assert opened(FakeCrossEncoder()).weight == FakeCrossEncoder().contract.weight
    assert opened(FakeCrossEncoder(), weight=0.0).weight == 0.0
