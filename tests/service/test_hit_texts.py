"""Texts of hits: for how long highlights are made, and what becomes of an answer without texts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from serving import CONFIG, with_server

import sidecar.service.hit_texts as hit_texts_module
from sidecar.errors import StorageError, TooLargeError
from sidecar.metrics import FINAL_RANKINGS
from sidecar.pipeline.deadline import Deadline
from sidecar.recall.highlights import Highlighting
from sidecar.service.calls import Threads
from sidecar.service.hit_texts import HitTexts
from sidecar.service.messages.search import CollectionQuery
from sidecar.service.search import SearchService
from sidecar.types import Hit, Query, Ranking, Schema, Stage, TextField

SEARCH = CollectionQuery("docs", Query("dog"), (), highlighting=Highlighting(("text",)))
RANKING = Ranking(1, Stage.FUSED, True, False, (Hit("a", 1, Stage.FUSED, 1.0),), ())


class Stored:
    """A collection of short texts about dogs."""

    schema = Schema(text_fields=(TextField("text"),))
    name = "docs"

    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        return {doc_id: {"text": f"The dog {doc_id}."} for doc_id in reversed(doc_ids)}


def texts_until(deadline: Deadline) -> HitTexts:
    return HitTexts(Stored(), SEARCH, deadline)  # type: ignore[arg-type]


def test_highlights_end_with_the_time_the_first_hits_having_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, moments = Deadline.has_passed, iter([False, False, True])
    monkeypatch.setattr(Deadline, "has_passed", lambda _: next(moments))
    _, highlights = texts_until(Deadline.after(60.0)).read(["a", "b", "c", "d"])
    assert list(highlights) == ["a", "b"]
    monkeypatch.setattr(Deadline, "has_passed", read)
    monkeypatch.setattr(hit_texts_module, "LEAST_SECONDS", 0.0)
    _, none = texts_until(Deadline.after(-1.0)).read(["a"])
    assert none == {}


def test_a_ranking_that_took_all_the_time_has_a_little_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hit_texts_module, "LEAST_SECONDS", 60.0)
    _, highlights = texts_until(Deadline.after(-1.0)).read(["a"])
    assert list(highlights) == ["a"]


class Shown:
    """The feedback of a service, which keeps what it was shown."""

    def __init__(self) -> None:
        self.rankings: list[Ranking] = []

    def show(self, ranking: Ranking, asked: object) -> str:
        self.rankings.append(ranking)
        return "token"


def service_of(shown: Shown, threads: Threads, most: int = 1 << 20) -> Any:
    parts: Any = SimpleNamespace(get=lambda: SimpleNamespace(feedback=shown))
    config = with_server(CONFIG, max_message_bytes=most)
    return SearchService(parts, config, None, threads)  # type: ignore[arg-type]


def final_rankings() -> float:
    return sum(
        sample.value
        for metric in FINAL_RANKINGS.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


async def test_an_answer_whose_texts_cannot_be_read_is_not_logged_as_shown() -> None:
    class Failing(Stored):
        def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
            raise StorageError("the disk")

    shown, threads, before = Shown(), Threads("test", 1), final_rankings()
    texts = HitTexts(Failing(), SEARCH, Deadline.after(60.0))  # type: ignore[arg-type]
    with pytest.raises(StorageError):
        await service_of(shown, threads)._reply(RANKING, Stored(), SEARCH, texts)
    threads.close()
    assert shown.rankings == []
    assert final_rankings() == before


async def test_an_answer_that_is_sent_has_its_token() -> None:
    shown, threads, before = Shown(), Threads("test", 1), final_rankings()
    texts = texts_until(Deadline.after(60.0))
    reply = await service_of(shown, threads)._reply(RANKING, Stored(), SEARCH, texts)
    threads.close()
    assert reply.ranking.ranking_token == "token"
    assert shown.rankings == [RANKING]
    assert final_rankings() == before + 1


async def test_an_answer_above_the_limit_is_not_logged_as_shown() -> None:
    shown, threads = Shown(), Threads("test", 1)
    service = service_of(shown, threads, 10)
    with pytest.raises(TooLargeError, match="would bring"):
        await service._reply(RANKING, Stored(), SEARCH, texts_until(Deadline.after(60.0)))
    threads.close()
    assert shown.rankings == []


async def test_for_a_caller_that_left_no_more_highlights_are_made() -> None:
    entered, left = threading.Event(), threading.Event()

    class Slow(Stored):
        def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
            entered.set()
            assert left.wait(30.0)
            return super().fields(doc_ids)

    made: list[Any] = []

    class Seen(HitTexts):
        def read(self, doc_ids: Sequence[str]) -> Any:
            made.append(super().read(doc_ids))
            return made[-1]

    shown, threads = Shown(), Threads("test", 1)
    texts = Seen(Slow(), SEARCH, Deadline.after(60.0))  # type: ignore[arg-type]
    call = asyncio.ensure_future(
        service_of(shown, threads)._reply(RANKING, Stored(), SEARCH, texts)
    )
    assert await asyncio.to_thread(entered.wait, 30.0)
    call.cancel()
    await asyncio.wait({call})
    left.set()
    await asyncio.to_thread(threads.close)
    assert [highlights for _, highlights in made] == [{}]
    assert shown.rankings == []
