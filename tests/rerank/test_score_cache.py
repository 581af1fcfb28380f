"""A cached score is the score that would be given now, or it is not cached."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from reranking import TimedCrossEncoder, errand, open_reranker, run, scores_of, texts, turns

from sidecar.errors import ModelError, ModelUnavailableError
from sidecar.rerank.score_cache import CachedScore, PairKeys, ScoreCache
from sidecar.types import StageReason, Truncation

MEGABYTE = 1 << 20


def test_a_key_changes_with_every_ingredient() -> None:
    base = ("model", "revision", "digest", "query", "passage")
    made = [base]
    for place in range(5):
        made.append((*base[:place], base[place] + "x", *base[place + 1 :]))
        made.append((*base[:place], "", *base[place + 1 :]))
    made += [("modelr", "evision", *base[2:]), (*base[:3], "quer", "ypassage")]
    made += list(itertools.permutations(base))[1:]
    keys = {PairKeys(*one[:4]).key(one[4]) for one in made}
    assert len(keys) == len(set(made))
    assert all(len(key) == 16 for key in keys)
    assert PairKeys(*base[:4]).key(base[4]) == PairKeys(*base[:4]).key(base[4])


def test_half_of_a_surrogate_pair_has_a_key() -> None:
    assert PairKeys("m", "r", "d", "\ud83d").key("\ude00") != PairKeys("m", "r", "d", "").key("")


def test_it_is_bounded_in_bytes() -> None:
    cache = ScoreCache(10_000)
    keys = [bytes([n]) * 16 for n in range(200)]
    cache.put_all((key, CachedScore(1.0, 5, False)) for key in keys)
    known = cache.get_all(keys)
    assert known[0] is None
    assert known[-1] == CachedScore(1.0, 5, False)
    assert 20 < sum(one is not None for one in known) < 60


def test_a_hit_asks_nobody_and_says_so() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder, cache=ScoreCache(MEGABYTE))
        first = await reranker.score("q", texts([5, 6]), errand())
        read, begun = encoder.read, len(encoder.begun)
        again = await reranker.score("q", ["", *texts([6, 7, 5])], errand())
        assert scores_of(again) == [None, 6.0, 7.0, 5.0]
        assert [pair.cached for pair in again.pairs] == [False, True, False, True]
        assert again.pairs[3].token_count == first.pairs[0].token_count == 10
        assert (encoder.read - read, encoder.begun[begun:]) == (1, [[7]])
        await reranker.score("q", texts([5, 6]), errand(-1.0))  # a hit is never late
        assert len(encoder.begun) == begun + 1
        reranker.close()

    run(main())


def test_other_ingredients_are_other_scores() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder, cache=ScoreCache(MEGABYTE))
        await reranker.score("q", texts([5]), errand())
        for query, other in (("p", errand()), ("q", errand(truncation=Truncation(8, 8)))):
            answer = await reranker.score(query, texts([5]), other)
            assert not answer.pairs[0].cached
        another = open_reranker(TimedCrossEncoder(name="another"), cache=reranker._cache)
        assert not (await another.score("q", texts([5]), errand())).pairs[0].cached
        same = open_reranker(TimedCrossEncoder(), cache=reranker._cache)
        assert (await same.score("q", texts([5]), errand())).pairs[0].cached
        for one in (reranker, another, same):
            one.close()

    run(main())


def test_a_model_whose_scores_move_with_the_batch_is_not_cached() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder(batch_invariant=False)
        reranker = open_reranker(encoder, cache=ScoreCache(MEGABYTE))
        for _ in range(2):
            assert not (await reranker.score("q", texts([5]), errand())).pairs[0].cached
        assert encoder.begun == [[5], [5]]
        reranker.close()

    run(main())


def test_who_bypasses_the_cache_neither_reads_nor_writes_nor_joins() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder, cache=ScoreCache(MEGABYTE))
        around = [reranker.score("q", texts([5]), errand(use_cache=False)) for _ in range(2)]
        await asyncio.gather(*around)
        assert sorted(itertools.chain(*encoder.begun)) == [5, 5]
        assert not (await reranker.score("q", texts([5]), errand())).pairs[0].cached
        assert not (await reranker.score("q", texts([5]), errand(use_cache=False))).pairs[0].cached
        reranker.close()

    run(main())


def test_what_is_known_is_given_while_the_model_is_not_asked() -> None:
    async def main() -> None:
        def lost(numbers: list[int]) -> None:
            raise ModelUnavailableError("gone")

        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder, cache=ScoreCache(MEGABYTE))
        await reranker.score("q", texts([5, 6, 8]), errand())
        encoder.fault = lost
        for number in range(3):
            with pytest.raises(ModelUnavailableError):
                await reranker.score("q", texts([20 + number]), errand())
        answer = await reranker.score("q", texts([5, 6, 7, 8]), errand())
        assert scores_of(answer) == [5.0, 6.0]
        assert answer.reason is StageReason.MODEL_UNAVAILABLE
        assert len((await reranker.score("q", texts([8, 5, 6]), errand())).pairs) == 3
        with pytest.raises(ModelUnavailableError):
            await reranker.score("q", texts([7, 8]), errand())
        reranker.close()

    run(main())


def test_failures_are_not_cached() -> None:
    async def main() -> None:
        def fault(numbers: list[int]) -> set[int]:
            if 6 in numbers:
                raise ModelError("no")
            return {5}

        encoder = TimedCrossEncoder(fault=fault)
        reranker = open_reranker(encoder, cache=ScoreCache(MEGABYTE))
        assert scores_of(await reranker.score("q", texts([5, 6, 7]), errand())) == [None, None, 7.0]
        encoder.fault = None
        answer = await reranker.score("q", texts([5, 6, 7]), errand())
        assert scores_of(answer) == [5.0, 6.0, 7.0]
        assert [pair.cached for pair in answer.pairs] == [False, False, True]
        reranker.close()

    run(main())


def test_what_was_scored_is_kept_though_its_request_ended() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder, cache=ScoreCache(MEGABYTE))
        task = asyncio.create_task(reranker.score("q", texts(range(40)), errand()))
        await asyncio.sleep(0.17)  # the first batch of 16 is done
        task.cancel()
        await turns()
        answer = await reranker.score("q", texts(range(40)), errand())
        assert sum(pair.cached for pair in answer.pairs) == 16
        reranker.close()

    run(main())
