import math
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import FakeCrossEncoder

from sidecar.config import RerankerConfig
from sidecar.errors import ModelError
from sidecar.rerank.errand import Errand
from sidecar.rerank.reranker import Reranker
from sidecar.types import Stage, UnscoredReason

ERRAND = Errand(deadline=math.inf)


@pytest.fixture
def opened() -> Iterator[Any]:
    rerankers: list[Reranker] = []

    def open_reranker(fake: FakeCrossEncoder, weight: float = -1.0, **options: Any) -> Reranker:
        config = RerankerConfig(model="fake", weight=weight)
        rerankers.append(Reranker(Stage.FIRST_RERANK, fake, config, **options))
        return rerankers[-1]

    yield open_reranker
    for reranker in rerankers:
        reranker.close()


async def test_scores_are_in_the_order_of_the_passages(opened: Any) -> None:
    passages = ["one " * length + "red bike" for length in (9, 1, 30, 4, 2)] + ["red", "blue"]
    scores = (await opened(FakeCrossEncoder()).score("red bike", passages, ERRAND)).pairs
    assert [one.score for one in scores] == [1.0] * 5 + [0.5, 0.0]
    assert [one.token_count for one in scores] == [2 + len(p.split()) + 3 for p in passages]


async def test_empty_passages_and_nan_do_not_cost_the_list(opened: Any) -> None:
    fake = FakeCrossEncoder(nan_words=["bad"])
    texts = ["red", "", " \n", "bad red", None, "blue"]
    scores = (await opened(fake).score("red", texts, ERRAND)).pairs
    assert [one.score for one in scores] == [1.0, None, None, None, None, 0.0]
    empty, not_finite = UnscoredReason.EMPTY_TEXT, UnscoredReason.NOT_FINITE
    assert [one.reason for one in scores[1:5]] == [
        empty,
        empty,
        not_finite,
        UnscoredReason.NEEDS_TEXT,
    ]


async def test_a_pair_that_raises_stands_alone(opened: Any) -> None:
    fake = FakeCrossEncoder(raise_words=["bad"])
    passages = [f"red {number}" for number in range(20)]
    passages[13] = "bad"
    scores = (await opened(fake).score("red", passages, ERRAND)).pairs
    assert [one.score for one in scores] == [None if i == 13 else 1.0 for i in range(20)]
    assert scores[13].reason is UnscoredReason.NOT_FINITE


async def test_a_model_that_fails_on_everything_is_an_error(opened: Any) -> None:
    with pytest.raises(ModelError, match="fake-overlap failed on every pair"):
        await opened(FakeCrossEncoder(raise_words=["red"])).score("red", ["red", "red a"], ERRAND)
