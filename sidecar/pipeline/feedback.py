"""What was shown and what users did: impressions to the log, tokens out, events in.

ranking -> show -> token in the answer; the impression queued, written by the log's thread
events -> log -> token read, time checked -> the log's thread -> durable -> results
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from sidecar.config import FeedbackConfig
from sidecar.errors import FeedbackOffError
from sidecar.feedback_types import (
    Action,
    Event,
    EventRefusal,
    EventResult,
    EventStatus,
    Impression,
    ShownHit,
)
from sidecar.pipeline.ranking_tokens import (
    ID_BYTES,
    MICROSECONDS,
    RankingToken,
    RankingTokens,
    TokenRefusedError,
)
from sidecar.storage.feedback.journal import Logged, Submitted
from sidecar.storage.feedback.log import FeedbackLog
from sidecar.storage.feedback.roll_schedule import Roller
from sidecar.storage.feedback.secret import read_secret
from sidecar.types import Hit, Ranking, RankingOptions

FOLDER_NAME = "feedback"
# How far the clocks of those who send events may be from this one's.
CLOCK_TOLERANCE_SECONDS = 60.0
# Events that are read in one go; between two goes the event loop does what else is due.
EVENTS_IN_ONE_GO = 50
HOUR_SECONDS = 3600.0
_TIME_BYTES = 6

# The session's salted hash (the impression's id where it is not known), the impression, the team,
# and when the ranking was answered.
OnClick = Callable[[str, str, str, float], None]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a ranking answers. `collection` is empty for a list that the caller brought."""

    query: str
    options: RankingOptions
    caller: str = ""
    collection: str = ""
    index_revision: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """An event as its sender tells it. `time`: seconds since the epoch, None: just now; `value`: as
    in Event."""

    event_id: str
    ranking_token: str
    action: Action
    doc_id: str = ""
    value: float | None = None
    time: float | None = None


class Feedback:
    """Logs impressions and events; nothing where feedback is off. For one event loop."""

    def __init__(
        self,
        log: FeedbackLog | None = None,
        tokens: RankingTokens | None = None,
        config: FeedbackConfig | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.on_click: OnClick | None = None
        self._log = log
        self._tokens = tokens or RankingTokens(b"")
        self._config = config or FeedbackConfig()
        self._clock = clock

    def show(self, ranking: Ranking, asked: Asked) -> str:
        """Logs a ranking that is being answered and returns its token, "" if it is not logged.

        Never blocks and never raises. Too many that wait to be written: this one is dropped, its
        token is good all the same.
        """
        if self._log is None or asked.options.unlogged:
            return ""
        microseconds = max(0, int(self._clock() * MICROSECONDS))
        impression_id = _new_id(microseconds)
        hits, stages = ranking.hits[: asked.options.top_k], ranking.stages
        # Not the ranking itself: it has hits that are not shown, and what is not logged.
        kept = dataclasses.replace(ranking, hits=hits, recalled=(), facets=())
        make = functools.partial(self._to_impression, impression_id, microseconds, kept, asked)
        self._log.put(make, len(hits) + len(stages))
        return self._tokens.sign(impression_id, microseconds)

    async def log(self, reports: Sequence[Report]) -> list[EventResult]:
        """Logs events; what became of each, in their order, once those accepted are durable.

        Raises OverloadedError if too many wait, StorageError if they cannot be written,
        FeedbackOffError.
        """
        if self._log is None:
            raise FeedbackOffError("nothing is logged here: set feedback.enabled")
        received = self._clock()
        read: list[Submitted | EventResult] = []
        for start in range(0, len(reports), EVENTS_IN_ONE_GO):
            read += [self._read(one, received) for one in reports[start : start + EVENTS_IN_ONE_GO]]
            await asyncio.sleep(0)
        submitted = [one for one in read if isinstance(one, Submitted)]
        logged = iter(await self._submit(submitted)) if submitted else iter(())
        return [one if isinstance(one, EventResult) else next(logged).result for one in read]

    def close(self) -> None:
        """Writes what waits. May be called twice. Blocks."""
        if self._log is not None:
            self._log.close()

    def _submit(self, submitted: Sequence[Submitted]) -> asyncio.Future[list[Logged]]:
        assert self._log is not None
        future = self._log.submit(submitted)
        # Not where the results are awaited: whoever waits may leave, and its credits count.
        future.add_done_callback(functools.partial(self._tell, asyncio.get_running_loop()))
        return asyncio.wrap_future(future)

    def _tell(self, loop: asyncio.AbstractEventLoop, future: Future[list[Logged]]) -> None:
        """In the log's thread."""
        if future.cancelled() or future.exception() is not None:
            return
        credited = [logged for logged in future.result() if logged.credit is not None]
        if credited:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._credit, credited)

    def _credit(self, credited: Sequence[Logged]) -> None:
        if self.on_click is None:
            return
        for logged in credited:
            credit = logged.credit
            assert credit is not None
            session = credit.session or credit.impression_id
            self.on_click(session, credit.impression_id, credit.team, credit.answered)

    def _read(self, report: Report, received: float) -> Submitted | EventResult:
        try:
            token = self._tokens.read(report.ranking_token)
        except TokenRefusedError as error:
            return _refused(report, error.refusal, f"ranking_token: {error}")
        moment = max(received, token.answered) if report.time is None else report.time
        wrong = _wrong_time(moment, token.answered, received)
        if wrong:
            return _refused(report, EventRefusal.INVALID_FIELD, wrong)
        event = Event(
            event_id=report.event_id,
            impression_id=token.impression_id,
            answered=token.answered,
            action=report.action,
            time=moment,
            received=received,
            doc_id=report.doc_id,
            value=report.value,
        )
        return Submitted(event, self._expired(report, token, received))

    def _expired(self, report: Report, token: RankingToken, now: float) -> EventResult | None:
        """What an event of a ranking that was answered too long ago gets, unless it is known."""
        hours = (now - token.answered) / HOUR_SECONDS
        if hours <= self._config.token_hours:
            return None
        return _refused(
            report,
            EventRefusal.EXPIRED_TOKEN,
            f"ranking_token: the ranking was answered {hours:.1f} hours ago; events are taken for "
            f"{self._config.token_hours:g} hours",
        )

    def _to_impression(
        self, impression_id: bytes, microseconds: int, ranking: Ranking, asked: Asked
    ) -> Impression:
        """In the log's thread: the event loop has better things to do."""
        visitor = asked.options.visitor
        return Impression(
            impression_id=impression_id.hex(),
            answered=microseconds / MICROSECONDS,
            query=asked.query,
            hits=_to_shown_hits(ranking),
            stages=ranking.stages,
            canary_stages=ranking.canary_stages,
            collection=asked.collection,
            index_revision=asked.index_revision,
            caller=asked.caller,
            session=self._tokens.hash_id("session", visitor.session_id),
            user=self._tokens.hash_id("user", visitor.user_id),
            variant=ranking.variant,
            revision=ranking.revision,
            stage=ranking.stage,
            final=ranking.final,
            degraded=ranking.degraded,
            exploration_share=self._config.exploration_share if _is_explored(ranking) else 0.0,
            swapped_rank=ranking.swapped_rank,
            interleaved=bool(ranking.teams),
        )


def open_feedback(config: FeedbackConfig, data_dir: Path) -> tuple[Feedback, Callable[[], None]]:
    """The log of a data directory, which is rolled by the hour, and what closes it; one that logs
    nothing if feedback is off. Raises StorageError, ConfigurationError."""
    if not config.enabled:
        return Feedback(), lambda: None
    folder = data_dir / FOLDER_NAME
    with contextlib.ExitStack() as opened:
        tokens = RankingTokens(read_secret(folder, config.secret))
        log = FeedbackLog(folder, config.queue_impressions, config.queue_events)
        opened.callback(log.close)
        roller = Roller(folder, config)
        opened.callback(roller.close)
        return Feedback(log, tokens, config), opened.pop_all().close


def _new_id(microseconds: int) -> bytes:
    """Time first, as UUIDs of version 7 have it (RFC 9562): ids of one time lie together in the
    log's index, of which a write then touches few pages."""
    milliseconds = (microseconds // 1000).to_bytes(_TIME_BYTES, "big")
    return milliseconds + os.urandom(ID_BYTES - _TIME_BYTES)


def _to_shown_hits(ranking: Ranking) -> tuple[ShownHit, ...]:
    teams = ranking.teams or ("",) * len(ranking.hits)
    return tuple(map(_to_shown_hit, ranking.hits, teams))


def _to_shown_hit(hit: Hit, team: str) -> ShownHit:
    return ShownHit(
        doc_id=hit.doc_id,
        rank=hit.rank,
        stage=hit.stage,
        score=hit.score,
        logit=hit.logit,
        probability=hit.probability,
        scores=hit.scores,
        team=team,
    )


def _is_explored(ranking: Ranking) -> bool:
    """Whether its hits may have been swapped: of pages, those of the first may."""
    return ranking.final and not (ranking.hits and ranking.hits[0].rank > 1)


def _refused(report: Report, refusal: EventRefusal, detail: str) -> EventResult:
    return EventResult(report.event_id, EventStatus.REFUSED, refusal, detail)


def _wrong_time(moment: float, answered: float, now: float) -> str:
    """What is wrong with the time of an event, in words; "" if nothing is."""
    early, ahead = answered - moment, moment - max(now, answered)
    if early > CLOCK_TOLERANCE_SECONDS:
        return f"time: is {early:.0f} seconds before the ranking was answered"
    if ahead > CLOCK_TOLERANCE_SECONDS:
        return f"time: is {ahead:.0f} seconds ahead of this server's clock"
    return ""
