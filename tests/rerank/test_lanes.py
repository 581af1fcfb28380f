"""Who gets a free slot, over several models on the same cores."""

from __future__ import annotations

import asyncio

import pytest
from reranking import (
    TimedCrossEncoder,
    errand,
    open_reranker,
    run,
    scores_of,
    texts,
    turns,
    until_idle,
)

from sidecar.models.base import Feed
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.reranker import Reranker
from sidecar.types import RequestClass, Stage

INTERACTIVE, PREFETCH, OFFLINE = RequestClass

Pair = tuple[Reranker, TimedCrossEncoder]


def two_stages(slots: int, side_by_side: int = 1) -> tuple[list[int], Pair, Pair, Lanes]:
    """Two stages on shared lanes; the list gets the first number of each batch that begins."""
    order: list[int] = []

    class Recorded(TimedCrossEncoder):
        async def score(self, pairs):  # type: ignore[no-untyped-def]
            order.append(pairs[0].input_ids[0])
            return await super().score(pairs)

    lanes = Lanes(slots)
    made = []
    for stage in (Stage.FIRST_RERANK, Stage.SECOND_RERANK):
        encoder = Recorded(feed=Feed(side_by_side, 160))
        made.append((open_reranker(encoder, stage, lanes), encoder))
    return order, made[0], made[1], lanes


def ask(reranker: Reranker, start: int, count: int, request_class: RequestClass) -> asyncio.Task:
    numbers = range(start, start + count)
    return asyncio.create_task(
        reranker.score("q", texts(numbers), errand(request_class=request_class))
    )


def test_a_better_class_comes_first_then_the_earlier_stage() -> None:
    async def main() -> None:
        order, (first, _), (second, _), _ = two_stages(slots=1)
        busy = ask(first, 1, 1, INTERACTIVE)
        await turns()
        tasks = [
            ask(second, 600, 16, OFFLINE),
            ask(first, 500, 16, OFFLINE),
            ask(second, 400, 16, PREFETCH),
            ask(first, 300, 16, PREFETCH),
            ask(second, 200, 16, INTERACTIVE),
            ask(first, 100, 32, INTERACTIVE),
        ]
        await asyncio.gather(busy, *tasks)
        assert order == [1, 100, 116, 200, 300, 400, 500, 600]
        first.close()
        second.close()

    run(main())


def test_what_comes_while_a_batch_runs_overtakes_what_waits() -> None:
    async def main() -> None:
        order, (first, _), (second, _), _ = two_stages(slots=1)
        offline = ask(first, 100, 48, OFFLINE)
        await asyncio.sleep(0.17)  # the second batch of three runs
        urgent = ask(second, 200, 16, INTERACTIVE)
        await asyncio.gather(offline, urgent)
        assert order == [100, 116, 200, 132]
        first.close()
        second.close()

    run(main())


def test_models_share_the_slots_and_keep_to_their_own_width() -> None:
    async def main() -> None:
        running, most = 0, 0

        class Counted(TimedCrossEncoder):
            async def score(self, pairs):  # type: ignore[no-untyped-def]
                nonlocal running, most
                running += 1
                most = max(most, running)
                try:
                    return await super().score(pairs)
                finally:
                    running -= 1

        lanes = Lanes(3)
        encoders = [Counted(feed=Feed(2, 160)) for _ in range(2)]
        stages = (Stage.FIRST_RERANK, Stage.SECOND_RERANK)
        both = [open_reranker(e, s, lanes) for e, s in zip(encoders, stages, strict=True)]
        one = ask(both[0], 0, 100, INTERACTIVE)
        await turns()
        assert most == running == 2  # its own width
        other = ask(both[1], 0, 100, INTERACTIVE)
        await turns()
        assert running == 3  # the lanes' slots
        await asyncio.gather(one, other)
        assert (most, lanes.busy) == (3, 0)
        for reranker in both:
            reranker.close()

    run(main())


def test_a_model_that_runs_one_batch_at_its_best_has_all_slots_to_itself() -> None:
    async def main() -> None:
        lanes = Lanes(2)
        narrow = TimedCrossEncoder(feed=Feed(1, 160))
        wide = TimedCrossEncoder(feed=Feed(2, 160))
        first = open_reranker(narrow, Stage.FIRST_RERANK, lanes)
        second = open_reranker(wide, Stage.SECOND_RERANK, lanes)
        before = ask(second, 0, 32, INTERACTIVE)
        await turns()
        assert lanes.free == 0
        own = ask(first, 100, 16, INTERACTIVE)
        after = ask(second, 200, 32, INTERACTIVE)
        await asyncio.gather(before, own, after)
        # Two batches of 8, then the first stage alone, then what waited for the second.
        (began,) = narrow.begun_at
        assert began == pytest.approx(wide.begun_at[0] + 0.08)
        assert wide.begun_at[:2] == [wide.begun_at[0]] * 2
        assert wide.begun_at[2] == pytest.approx(began + 0.16)
        assert lanes.busy == 0
        first.close()
        second.close()

    run(main())


def test_little_work_is_spread_over_idle_lanes() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(feed=Feed(2, 1000))
        reranker = open_reranker(encoder)
        await reranker.score("q", texts(range(16), 50), errand())
        assert [len(batch) for batch in encoder.begun] == [8, 8]
        encoder.begun.clear()
        await reranker.score("q", texts(range(6), 50), errand())
        assert [len(batch) for batch in encoder.begun] == [5, 1]  # no less than a quarter budget
        encoder.begun.clear()
        remote = TimedCrossEncoder(feed=Feed(2, 1000, pads=False, shares_cores=False))
        elsewhere = open_reranker(remote)
        await elsewhere.score("q", texts(range(16), 50), errand())
        assert [len(batch) for batch in remote.begun] == [16]
        reranker.close()
        elsewhere.close()

    run(main())


def test_a_probe_of_a_stuck_model_holds_up_no_other() -> None:
    async def main() -> None:
        _, (first, _), (second, broken), _ = two_stages(slots=1)
        broken.stuck = True
        stuck = ask(second, 7, 1, INTERACTIVE)
        await asyncio.gather(stuck, return_exceptions=True)
        await asyncio.sleep(2.0)  # a harmless pair has not come back either: the probe is under way
        assert len(broken.begun) == 3
        started = asyncio.get_running_loop().time()
        await ask(first, 100, 16, INTERACTIVE)
        assert asyncio.get_running_loop().time() - started == pytest.approx(0.16)
        second.close()
        first.close()
        await turns()

    run(main())


@pytest.mark.parametrize("deaf", [False, True])
def test_a_stalled_batch_gives_its_slot_back_to_the_other_model(deaf: bool) -> None:
    async def main() -> None:
        _, (first, _), (second, broken), lanes = two_stages(slots=1)
        broken.stuck, broken.deaf = True, deaf
        started = asyncio.get_running_loop().time()
        stuck = asyncio.create_task(second.score("q", texts([7]), errand(30)))
        await turns()
        waiting = ask(first, 100, 16, INTERACTIVE)
        await turns()
        assert lanes.free == 0
        assert scores_of(await waiting) == [float(n) for n in range(100, 116)]
        assert asyncio.get_running_loop().time() - started == pytest.approx(1.16)
        assert isinstance((await asyncio.gather(stuck, return_exceptions=True))[0], Exception)
        broken.stuck = False
        await until_idle(second)
        assert lanes.busy == 0
        first.close()
        second.close()

    run(main())
