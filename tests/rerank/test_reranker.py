"""What a stage says of each passage of a list, and when."""

from __future__ import annotations

import asyncio
import math
import threading

import pytest
from fakes import CROSS_ENCODER_CONTRACT, FakeCrossEncoder
from hypothesis import given
from hypothesis import strategies as st
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

from sidecar.config import RerankerConfig
from sidecar.errors import ModelError
from sidecar.models.base import Feed, TokenizedPassage
from sidecar.rerank.errand import Errand, PairScore
from sidecar.rerank.reranker import Reranker
from sidecar.types import LongPassages, Stage, StageReason, Truncation, UnscoredReason

NONE, EMPTY, NOT_FINITE, TOO_LONG, NEEDS_TEXT = (
    UnscoredReason.NONE,
    UnscoredReason.EMPTY_TEXT,
    UnscoredReason.NOT_FINITE,
    UnscoredReason.TOO_LONG,
    UnscoredReason.NEEDS_TEXT,
)


async def score_words(
    fake: FakeCrossEncoder, passages: list[str | None], **config: str
) -> tuple[PairScore, ...]:
    """Scores of "red bike", with real threads and real time."""
    reranker = Reranker(Stage.FIRST_RERANK, fake, RerankerConfig(model="fake", **config))
    try:
        return (await reranker.score("red bike", passages, Errand())).pairs
    finally:
        reranker.close()


async def test_scores_are_in_the_order_of_the_passages() -> None:
    passages = ["one " * length + "red bike" for length in (9, 1, 30, 4, 2)] * 20 + ["red", "blue"]
    scores = await score_words(FakeCrossEncoder(concurrency=2), list(passages))
    assert [one.score for one in scores] == [1.0] * 100 + [0.5, 0.0]
    assert [one.token_count for one in scores] == [2 + len(p.split()) + 3 for p in passages]


async def test_a_passage_that_cannot_be_scored_says_why_and_costs_no_other() -> None:
    fake = FakeCrossEncoder(nan_words=["nan"], raise_words=["raise"])
    passages = ["red", "", " \n", "nan red", None, "raise red", "bike red"]
    scores = await score_words(fake, passages)
    assert [one.score for one in scores] == [0.5, None, None, None, None, None, 1.0]
    reasons = [NONE, EMPTY, EMPTY, NOT_FINITE, NEEDS_TEXT, NOT_FINITE, NONE]
    assert [one.reason for one in scores] == reasons


@pytest.mark.parametrize(
    ("long_passages", "score", "truncated", "reason"),
    [
        ("cut_tail", 0.5, True, NONE),
        ("head_and_tail", 1.0, True, NONE),
        ("chunk_and_max", 1.0, False, NONE),
        ("reject", None, True, TOO_LONG),
    ],
)
async def test_long_passages(
    long_passages: str, score: float | None, truncated: bool, reason: UnscoredReason
) -> None:
    passage = "red " + "x " * 19 + "red bike"
    scores = await score_words(
        FakeCrossEncoder(),
        [passage, "red bike"],
        truncation="query:8;passage:12",
        long_passages=long_passages,
    )
    assert scores[0] == PairScore(score, 2 + 22 + 3, truncated, reason)
    assert (scores[1].score, scores[1].truncated) == (1.0, False)


async def test_a_chunk_that_fails_leaves_the_others() -> None:
    scores = await score_words(
        FakeCrossEncoder(nan_words=["nan"], raise_words=["raise"]),
        ["nan red bike x red x raise bike x", "red bike x"],
        truncation="query:8;passage:3",
        long_passages="chunk_and_max",
    )
    assert [one.score for one in scores] == [0.5, 1.0]


async def test_a_model_that_fails_on_everything_is_an_error() -> None:
    with pytest.raises(ModelError, match="fake-overlap failed on every pair: the fake runtime"):
        await score_words(FakeCrossEncoder(raise_words=["red"]), ["red", "red a", ""])


async def test_a_text_that_cannot_be_tokenized_costs_no_other() -> None:
    class Choosy(FakeCrossEncoder):
        def tokenize(
            self, query: str, passages: object, truncation: Truncation
        ) -> list[TokenizedPassage]:
            if any("odd" in passage for passage in passages):
                raise ValueError("an odd text")
            return super().tokenize(query, passages, truncation)

    scores = await score_words(Choosy(), ["red"] * 20 + ["odd"] + ["bike"] * 20)
    assert [one.score for one in scores] == [0.5] * 20 + [None] + [0.5] * 20
    assert scores[20].reason is NOT_FINITE
    with pytest.raises(ModelError, match="an odd text"):
        await score_words(Choosy(), ["odd"])


async def test_texts_are_tokenized_off_the_event_loop() -> None:
    threads = []

    class Watched(FakeCrossEncoder):
        def tokenize(
            self, query: str, passages: object, truncation: Truncation
        ) -> list[TokenizedPassage]:
            threads.append((threading.current_thread(), len(passages)))
            return super().tokenize(query, passages, truncation)

    await score_words(Watched(), ["red"] * 100)
    asked = threads[1:]  # the first is that of the harmless pair, when it is opened
    assert threading.main_thread() not in [thread for thread, _ in asked]
    assert [count for _, count in asked] == [16, 32, 32, 20]


def test_nothing_to_score_asks_nobody() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        assert (await reranker.score("q", [], errand())).pairs == ()
        answer = await reranker.score("q", ["", None], errand())
        assert [pair.reason for pair in answer.pairs] == [EMPTY, NEEDS_TEXT]
        assert (answer.queue_seconds, encoder.begun) == (0.0, [])
        reranker.close()

    run(main())


CANDIDATES = st.lists(
    st.tuples(st.integers(1, 40), st.lists(st.integers(3, 60), min_size=1, max_size=3)),
    max_size=50,
)


@given(
    st.lists(CANDIDATES, min_size=1, max_size=4),
    st.booleans(),
    st.integers(1, 3),
    st.sets(st.integers(1, 40), max_size=5),
    st.sets(st.integers(1, 40), max_size=3),
    st.booleans(),
)
def test_every_pair_is_scored_once_and_lands_on_its_passage(
    lists: list[list[tuple[int, list[int]]]],
    pads: bool,
    side_by_side: int,
    nan: set[int],
    raising: set[int],
    use_cache: bool,
) -> None:
    """Any lists at once, passages in chunks among them, some pairs NaN and some that raise."""

    def fault(numbers: list[int]) -> set[int]:
        if raising & set(numbers):
            raise ModelError("no")
        return nan

    def expected(number: int) -> float | None:
        return None if number in nan | raising else float(number)

    async def main() -> None:
        encoder = TimedCrossEncoder(feed=Feed(side_by_side, 160, pads=pads), fault=fault)
        reranker = open_reranker(encoder)
        asked = [
            [" ".join(map(str, (number, *lengths))) for number, lengths in one] for one in lists
        ]
        answers = await asyncio.gather(
            *(reranker.score("q", one, errand(use_cache=use_cache)) for one in asked),
            return_exceptions=True,
        )
        for one, answer in zip(lists, answers, strict=True):
            wanted = [expected(number) for number, _ in one]
            if isinstance(answer, ModelError):
                assert not any(wanted)
            else:
                assert not isinstance(answer, BaseException)
                assert scores_of(answer) == wanted
        await until_idle(reranker)
        if not raising and not nan:
            _assert_scored_once(encoder, asked, use_cache)
        reranker.close()

    run(main())


def _assert_scored_once(
    encoder: TimedCrossEncoder, asked: list[list[str]], use_cache: bool
) -> None:
    flat = [passage for one in asked for passage in one]
    wanted = sorted(set(flat)) if use_cache else flat
    pairs = sorted(int(p.split()[0]) for p in wanted for _ in p.split()[1:])
    assert sorted(number for batch in encoder.ended for number in batch) == pairs


def test_at_the_deadline_the_settled_prefix_comes_back() -> None:
    """10 ms a pair, 16 in a batch: after 0.4 s two batches are done and a third is under way."""

    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        await reranker.warm_up()
        encoder.seconds = 0.1
        loop = asyncio.get_running_loop()
        started = loop.time()
        answer = await reranker.score("q", texts(range(60)), errand(0.55))
        assert loop.time() - started <= 0.55 + 1e-6
        assert answer.reason is StageReason.DEADLINE
        assert scores_of(answer) == [float(number) for number in range(32)]
        await turns()
        assert reranker.is_idle
        reranker.close()

    run(main())


def test_what_would_be_late_is_not_begun() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        await reranker.warm_up()
        begun = len(encoder.begun)
        loop = asyncio.get_running_loop()
        started = loop.time()
        answer = await reranker.score("q", texts(range(5), tokens=50), errand(0.04))
        assert (answer.pairs, answer.reason) == ((), StageReason.DEADLINE)
        assert loop.time() == started  # said at once
        assert len(encoder.begun) == begun
        answer = await reranker.score("q", texts(range(9), tokens=50), errand(0.11))
        assert scores_of(answer) == [0.0, 1.0]  # as many as there was time for, the best-ranked
        assert encoder.begun[begun:] == [[0, 1]]
        reranker.close()

    run(main())


def test_a_deadline_that_has_passed_costs_nothing() -> None:
    async def main() -> None:
        encoder = TimedCrossEncoder()
        reranker = open_reranker(encoder)
        answer = await reranker.score("q", texts(range(5)), errand(-1.0))
        assert (answer.pairs, answer.reason) == ((), StageReason.DEADLINE)
        answer = await reranker.score("q", ["", *texts(range(5))], errand(-1.0))
        assert [pair.reason for pair in answer.pairs] == [EMPTY]
        assert encoder.begun == []
        assert reranker.is_idle
        reranker.close()

    run(main())


def test_queue_seconds_is_the_time_until_the_model_began() -> None:
    async def main() -> None:
        reranker = open_reranker(TimedCrossEncoder())
        first = asyncio.create_task(reranker.score("q", texts(range(16)), errand()))
        await turns()
        joined = asyncio.create_task(reranker.score("q", texts(range(8)), errand()))
        second = await reranker.score("q", texts(range(20, 22)), errand())
        assert (await first).queue_seconds == pytest.approx(0.0)
        assert (await joined).queue_seconds == pytest.approx(0.0)
        assert second.queue_seconds == pytest.approx(0.16)
        reranker.close()

    run(main())


def test_weight_and_probability_are_the_contracts_unless_configured() -> None:
    assert open_reranker(TimedCrossEncoder()).weight == TimedCrossEncoder().contract.weight
    assert open_reranker(TimedCrossEncoder(), weight=0.0).weight == 0.0
    assert CROSS_ENCODER_CONTRACT.weight == 0.5


def test_template_digests_differ_where_scores_may() -> None:
    reranker = open_reranker(TimedCrossEncoder())
    asked = [
        Truncation(),
        Truncation(max_query_tokens=32),
        Truncation(max_passage_tokens=32),
        Truncation(long_passages=LongPassages.REJECT),
        Truncation(long_passages=LongPassages.CHUNK_AND_MAX),
        Truncation(long_passages=LongPassages.CHUNK_AND_MAX, max_chunks=2),
    ]
    digests = [reranker.template_digest(one) for one in asked]
    assert len(set(digests)) == len(asked)
    assert reranker.template_digest(Truncation(max_chunks=2)) == digests[0]


async def test_estimates_learn_from_what_was_read() -> None:
    reranker = Reranker(Stage.FIRST_RERANK, FakeCrossEncoder(), RerankerConfig(model="fake"))
    passages = ["word " * 40] * 60
    assert reranker.estimate_tokens("red bike", ["", None]) == [0, 0]
    for _ in range(10):
        await reranker.score("red bike", passages, Errand(use_cache=False))
    estimate = reranker.estimate_tokens("red bike", [passages[0], "word " * 1000])
    assert estimate == [pytest.approx(45, abs=2), pytest.approx(261, abs=2)]
    assert reranker.mean_tokens == pytest.approx(45, rel=0.01)
    chunked = Truncation(long_passages=LongPassages.CHUNK_AND_MAX, max_chunks=3)
    (long,) = reranker.estimate_tokens("red bike", ["word " * 600], chunked)
    assert long == pytest.approx(600 + 3 * 5, rel=0.05)
    assert reranker.work_seconds(1000) > 0
    assert math.isfinite(reranker.forecast(Errand().request_class, "").seconds_for(100))
    reranker.close()
