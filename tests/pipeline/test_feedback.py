"""Feedback: what is shown is logged and named; events are joined, checked, credited."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from feedbacks import HOUR, NOON, Hold, event_ids, impression_ids, in_database, in_parquet

from sidecar.config import FeedbackConfig
from sidecar.errors import FeedbackOffError, OverloadedError
from sidecar.feedback_types import Action, EventRefusal, EventResult, EventStatus
from sidecar.pipeline.feedback import Asked, Feedback, Report, open_feedback
from sidecar.pipeline.ranking_tokens import RankingTokens
from sidecar.storage.feedback.log import FeedbackLog
from sidecar.storage.feedback.roll import everything, roll
from sidecar.types import (
    Facet,
    Hit,
    Ranking,
    RankingOptions,
    Stage,
    StageReport,
    StageScore,
    StageState,
    Visitor,
)

ACCEPTED, DUPLICATE, REFUSED = EventStatus.ACCEPTED, EventStatus.DUPLICATE, EventStatus.REFUSED
HITS = tuple(
    Hit(f"d{n}", n + 1, Stage.FUSED, 1.0 / (n + 1), scores=(StageScore(Stage.FUSED, n + 1, 0.5),))
    for n in range(20)
)
REPORTS = (StageReport(Stage.FUSED, StageState.COMPLETE, model_revision="r1"),)
RANKING = Ranking(2, Stage.FUSED, True, True, HITS, REPORTS, variant="canary", swapped_rank=4)
DRAFTED = dataclasses.replace(RANKING, teams=("production", "canary") * 10)
OPTIONS = RankingOptions(top_k=3, visitor=Visitor("session-of-anna", "anna@example.org"))
ASKED = Asked("a query", OPTIONS, "shop", "things", 12)


class Clocked:
    """A feedback whose clock stands still until it is set."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.now = NOON + 1.25
        self.writer = FeedbackLog(folder, 100, 100)
        tokens = RankingTokens(b"secret")
        self.feedback = Feedback(self.writer, tokens, FeedbackConfig(**config), lambda: self.now)

    def show(self, ranking: Ranking = RANKING, asked: Asked = ASKED) -> str:
        return self.feedback.show(ranking, asked)

    async def log(self, token: str, **changes: Any) -> EventResult:
        values: dict[str, Any] = {"event_id": "e", "action": Action.CLICK, "doc_id": "d1"}
        (result,) = await self.feedback.log([Report(ranking_token=token, **(values | changes))])
        return result


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Clocked]:
    opened = Clocked(tmp_path, token_hours=10.0, exploration_share=0.02)
    yield opened
    opened.feedback.close()


async def test_what_is_shown_is_logged(clocked: Clocked, tmp_path: Path) -> None:
    token = clocked.show()
    assert await clocked.log(token) == EventResult("e", ACCEPTED, joined=True)
    roll(tmp_path, clocked.now, everything)
    (row,) = in_parquet(tmp_path, "impressions")
    assert (row["query"], row["collection"], row["index_revision"]) == ("a query", "things", 12)
    assert (row["caller"], row["variant"], row["revision"]) == ("shop", "canary", 2)
    assert (row["final"], row["degraded"], row["interleaved"]) == (True, True, False)
    assert (row["exploration_share"], row["swapped_rank"]) == (0.02, 4)
    assert row["answered"].timestamp() == clocked.now
    shown = [(hit["doc_id"], hit["rank"], hit["score"], hit["team"]) for hit in row["hits"]]
    assert shown == [("d0", 1, 1.0, ""), ("d1", 2, 0.5, ""), ("d2", 3, 1 / 3, "")]
    assert [stage["model_revision"] for stage in row["stages"]] == ["r1"]
    (event,) = in_parquet(tmp_path, "events")
    assert event["impression_id"] == row["impression_id"]


async def test_ids_of_people_are_nowhere_on_the_disk(clocked: Clocked, tmp_path: Path) -> None:
    tokens = [clocked.show() for _ in range(2)]
    await clocked.log(tokens[0])
    roll(tmp_path, clocked.now, everything)
    one, other = in_parquet(tmp_path, "impressions")
    assert (one["session"], one["user"]) == (other["session"], other["user"])
    assert len(one["session"]) == len(one["user"]) == 32
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"anna" not in content
    assert one["session"].encode() in content  # Parquet shows what it has


async def test_an_intermediate_ranking_is_not_explored(clocked: Clocked, tmp_path: Path) -> None:
    token = clocked.show(dataclasses.replace(RANKING, final=False, swapped_rank=None))
    await clocked.log(token)
    roll(tmp_path, clocked.now, everything)
    (row,) = in_parquet(tmp_path, "impressions")
    assert (row["final"], row["exploration_share"], row["swapped_rank"]) == (False, 0.0, None)


async def test_a_hit_below_top_k_was_not_shown(clocked: Clocked) -> None:
    result = await clocked.log(clocked.show(), doc_id="d3")
    assert result.refusal is EventRefusal.UNKNOWN_DOCUMENT


async def test_what_waits_to_be_written_is_what_was_shown(
    clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[Any] = []
    monkeypatch.setattr(clocked.writer, "put", lambda make, hits: queued.append((make, hits)))
    facet = Facet("counted-only", (), 0, 0)
    clocked.show(dataclasses.replace(RANKING, recalled=("recalled-only",), facets=(facet,)))
    ((make, count),) = queued
    kept = pickle.dumps(make.args)
    assert b"counted-only" not in kept
    assert b"recalled-only" not in kept
    assert count == 3 + len(REPORTS)


async def test_unlogged_rankings_have_no_token(clocked: Clocked, tmp_path: Path) -> None:
    asked = dataclasses.replace(ASKED, options=dataclasses.replace(OPTIONS, unlogged=True))
    assert clocked.show(asked=asked) == ""
    await clocked.log(clocked.show())
    assert len(impression_ids(tmp_path)) == 1


async def test_where_feedback_is_off(tmp_path: Path) -> None:
    feedback, close = open_feedback(FeedbackConfig(enabled=False), tmp_path)
    assert feedback.show(RANKING, ASKED) == ""
    with pytest.raises(FeedbackOffError, match=r"feedback\.enabled"):
        await feedback.log([Report("e", "token", Action.CLICK, "d1")])
    close()
    assert not list(tmp_path.iterdir())


async def test_tokens_survive_a_restart(tmp_path: Path) -> None:
    feedback, close = open_feedback(FeedbackConfig(), tmp_path)
    token = feedback.show(RANKING, ASKED)
    close()
    again, close = open_feedback(FeedbackConfig(), tmp_path)
    results = await again.log([Report("e", token, Action.CLICK, "d0")])
    assert results == [EventResult("e", ACCEPTED, joined=True)]
    close()


async def test_showing_does_not_wait_for_the_disk_and_never_fails(
    clocked: Clocked, tmp_path: Path
) -> None:
    hold = Hold(clocked.writer)
    tokens = [clocked.show() for _ in range(150)]
    hold.opened.set()
    assert len(set(tokens)) == 150
    results = [await clocked.log(token, event_id=f"e{n}") for n, token in enumerate(tokens)]
    assert {result.status for result in results} == {ACCEPTED}
    assert [result.joined for result in results] == [True] * 99 + [False] * 51
    clocked.feedback.close()
    assert clocked.show() != ""


async def test_a_server_that_shares_the_secret_takes_the_events(
    clocked: Clocked, tmp_path: Path
) -> None:
    other = Clocked(tmp_path / "other")
    assert await other.log(clocked.show(), doc_id="d19") == EventResult("e", ACCEPTED, joined=False)
    other.feedback.close()


async def test_forged_and_malformed_tokens(clocked: Clocked, tmp_path: Path) -> None:
    forged = RankingTokens(b"mine").sign(bytes(16), int(clocked.now * 1e6))
    for token, refusal in (
        (forged, EventRefusal.FORGED_TOKEN),
        (clocked.show()[:-3], EventRefusal.MALFORMED_TOKEN),
        ("", EventRefusal.MALFORMED_TOKEN),
    ):
        result = await clocked.log(token)
        assert (result.status, result.refusal) == (REFUSED, refusal)
        assert result.detail.startswith("ranking_token: ")
    clocked.feedback.close()
    assert not event_ids(tmp_path)


async def test_tokens_expire(clocked: Clocked) -> None:
    token = clocked.show()
    clocked.now += 10 * HOUR
    assert (await clocked.log(token)).status is ACCEPTED
    clocked.now += 1
    late = await clocked.log(token, event_id="late")
    assert (late.status, late.refusal) == (REFUSED, EventRefusal.EXPIRED_TOKEN)
    assert late.detail == (
        "ranking_token: the ranking was answered 10.0 hours ago; events are taken for 10 hours"
    )
    # It was logged: that it comes again too late does not make it a lie.
    assert (await clocked.log(token)).status is DUPLICATE


async def test_times_of_events(clocked: Clocked, tmp_path: Path) -> None:
    answered = clocked.now
    token = clocked.show()
    clocked.now += 100
    for number, (time, detail) in enumerate(
        [
            (answered - 60.5, "time: is 60 seconds before the ranking was answered"),
            (answered - 59, ""),
            (answered + 30, ""),
            (answered + 159, ""),
            (answered + 161, "time: is 61 seconds ahead of this server's clock"),
            (None, ""),
        ]
    ):
        result = await clocked.log(token, event_id=f"e{number}", time=time)
        assert result.detail == detail
        refusal = EventRefusal.INVALID_FIELD if detail else EventRefusal.NONE
        assert result.refusal is refusal
    times = in_database(tmp_path, "SELECT time - answered, received - answered FROM events")
    assert times == [(-59, 100), (30, 100), (159, 100), (100, 100)]


async def test_a_clock_that_was_set_back_refuses_nothing(clocked: Clocked, tmp_path: Path) -> None:
    token, answered = clocked.show(), clocked.now
    clocked.now -= 5 * HOUR
    assert (await clocked.log(token)).status is ACCEPTED
    assert (await clocked.log(token, event_id="f", time=answered + 3)).status is ACCEPTED
    assert in_database(tmp_path, "SELECT time FROM events") == [(answered,), (answered + 3,)]


async def test_impressions_and_events_have_the_hour_of_the_answer(
    clocked: Clocked, tmp_path: Path
) -> None:
    clocked.now = NOON + HOUR - 0.000001
    token = clocked.show()
    clocked.now += 0.00001
    await clocked.log(token)
    hours = "SELECT hour FROM impressions UNION ALL SELECT hour FROM events"
    assert in_database(tmp_path, hours) == [(NOON // HOUR,)] * 2


async def test_results_are_in_the_order_of_the_events(clocked: Clocked) -> None:
    token = clocked.show()
    reports = [
        Report(f"e{n}", token if n % 3 else "none", Action.CLICK, f"d{n % 5}") for n in range(100)
    ]
    results = await clocked.feedback.log(reports)
    assert [result.event_id for result in results] == [f"e{n}" for n in range(100)]
    for n, result in enumerate(results):
        assert (result.status is ACCEPTED) == (n % 3 != 0 and n % 5 < 3)
    assert await clocked.feedback.log([]) == []


async def test_reading_many_events_lets_others_go_first(clocked: Clocked) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    reports = [Report(f"e{n}", "none", Action.CLICK, "d0") for n in range(1000)]
    await clocked.feedback.log(reports)
    counting.cancel()
    assert turns >= 20


async def test_too_many_events_are_refused_as_a_whole(clocked: Clocked) -> None:
    hold, token = Hold(clocked.writer), clocked.show()
    waiting = asyncio.create_task(clocked.log(token, event_id="first"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await clocked.feedback.log([Report(f"e{n}", token, Action.CLICK, "d0") for n in range(100)])
    hold.opened.set()
    assert (await waiting).status is ACCEPTED


# Credits

Clicks = list[tuple[str, str, str, float]]


@pytest.fixture
def clicks(clocked: Clocked) -> Clicks:
    told: Clicks = []
    clocked.feedback.on_click = lambda *click: told.append(click)
    return told


async def test_clicks_of_interleaved_rankings_are_credited_once(
    clocked: Clocked, clicks: Clicks, tmp_path: Path
) -> None:
    drafted, plain = clocked.show(DRAFTED), clocked.show()
    await clocked.log(drafted, doc_id="d1")
    await clocked.log(drafted, doc_id="d1")
    await clocked.log(drafted, event_id="f", doc_id="d2", action=Action.ORDER)
    await clocked.log(drafted, event_id="g", doc_id="d2", action=Action.DWELL)
    await clocked.log(plain, event_id="h")
    ((impression_id, session),) = {
        (row["impression_id"], row["session"])
        for row in rolled_impressions(tmp_path)
        if row["interleaved"]
    }
    assert [click[:3] for click in clicks] == [
        (session, impression_id, "canary"),
        (session, impression_id, "production"),
    ]
    assert {click[3] for click in clicks} == {clocked.now}


def rolled_impressions(folder: Path) -> list[dict[str, Any]]:
    roll(folder, NOON, everything)
    return in_parquet(folder, "impressions")


async def test_without_a_session_the_impression_is_one(
    clocked: Clocked, clicks: Clicks, tmp_path: Path
) -> None:
    options = dataclasses.replace(OPTIONS, visitor=Visitor())
    await clocked.log(clocked.show(DRAFTED, dataclasses.replace(ASKED, options=options)))
    (row,) = rolled_impressions(tmp_path)
    assert clicks == [(row["impression_id"], row["impression_id"], "canary", clocked.now)]


async def test_a_click_counts_though_its_sender_left(clocked: Clocked, clicks: Clicks) -> None:
    written = asyncio.Event()
    write = clocked.writer._journal.write
    loop = asyncio.get_running_loop()

    def slow(*arguments: Any) -> Any:
        loop.call_soon_threadsafe(written.set)
        release.wait(20)
        return write(*arguments)

    import threading

    release = threading.Event()
    clocked.writer._journal.write = slow  # type: ignore[method-assign]
    logging = asyncio.create_task(clocked.log(clocked.show(DRAFTED)))
    await written.wait()
    logging.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await logging
    assert clicks == []
    release.set()
    # The same thread answers this one, after the first.
    assert (await clocked.log(clocked.show(), event_id="f")).status is ACCEPTED
    assert len(clicks) == 1
