"""How a canary does against production while both answer: answers, failures, times, preference; and
whether it has to go.

What is concluded holds however often one looks (confidence.py). Answers are compared with answers
of the same kind: those of an interleaved ranking are slower, since both variants work on it at
once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.config import GuardConfig
from sidecar.pipeline.comparison.confidence import (
    ANY,
    NEAR_HALF,
    NEAR_ONE_PERCENT,
    is_ruled_out,
    share_interval,
)
from sidecar.pipeline.comparison.durations import Durations
from sidecar.pipeline.comparison.session_credits import SessionCredits
from sidecar.pipeline.variant import CANARY, PRODUCTION

PREFERENCE_ALPHA = 0.05  # of an interval that ever misses the true share
# Of a canary that is ever taken away for its failures although it fails no more than it may;
# likewise for its times.
GUARD_ALPHA = 0.01
SLOW_SHARE = 0.01  # of answers above their 99th percentile
# Each test of the guard is made of two bounds, and made for both kinds of answers.
_BOUND_ALPHA = GUARD_ALPHA / 4
_CREDITS = {CANARY: 1, PRODUCTION: -1}


class VariantStatistics(NamedTuple):
    """What was seen of one variant. Times are 0 without an answer."""

    answers: int
    failure_share: float
    p50_seconds: float
    p99_seconds: float


class Preference(NamedTuple):
    """What interleaved sessions preferred. `share` is that of the canary among those that preferred
    either, None without any; `winner` is "" while the interval holds a half."""

    canary_wins: int
    production_wins: int
    ties: int
    share: float | None
    lower: float
    upper: float
    winner: str


@dataclass(slots=True)
class _Answers:
    """The answers of one variant, of one kind."""

    failures: int = 0
    times: Durations = field(default_factory=Durations)

    @property
    def count(self) -> int:
        return self.times.count


class Comparison:
    """One canary against production, from its start on. For one event loop."""

    def __init__(
        self,
        guard: GuardConfig,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._started = wall_clock()
        self._sessions = SessionCredits(guard.quiet_seconds)
        # (canary's, production's) of rankings answered by one variant, and of interleaved ones
        self._alone = {CANARY: _Answers(), PRODUCTION: _Answers()}
        self._interleaved = {CANARY: _Answers(), PRODUCTION: _Answers()}

    def answered(
        self, variant: str, seconds: float, failed: bool, interleaved: bool = False
    ) -> None:
        """As `serving.Observer`."""
        answers = (self._interleaved if interleaved else self._alone)[variant]
        answers.failures += failed
        answers.times.add(seconds)

    def clicked(
        self, session: str, impression_id: str, team: str, answered: float | None = None
    ) -> None:
        """A click on a hit of `team` ("production", "canary") in an interleaved ranking.

        A ranking without a session is one of its own. `answered`, the time of the ranking in
        seconds since the epoch, leaves out those of an earlier canary.
        """
        if team in _CREDITS and (answered is None or answered >= self._started):
            self._sessions.credit(session or impression_id, _CREDITS[team], self._clock())

    def statistics(self, variant: str) -> VariantStatistics:
        """What was seen of "production" or "canary". Times are of the kind of answers of which the
        canary gave more, so that they compare."""
        alone, interleaved = self._alone[variant], self._interleaved[variant]
        more = self._interleaved[CANARY].count > self._alone[CANARY].count
        times = (interleaved if more else alone).times
        count = alone.count + interleaved.count
        failures = alone.failures + interleaved.failures
        share = failures / count if count else 0.0
        return VariantStatistics(count, share, times.quantile(0.5), times.quantile(0.99))

    def preference(self) -> Preference:
        """Whose rankings the sessions prefer that are quiet by now."""
        self._sessions.settle(self._clock())
        wins, losses = self._sessions.wins, self._sessions.losses
        trials = wins + losses
        lower, upper = share_interval(wins, trials, PREFERENCE_ALPHA, NEAR_HALF)
        winner = CANARY if lower >= 0.5 else PRODUCTION if upper <= 0.5 else ""
        share = wins / trials if trials else None
        return Preference(wins, losses, self._sessions.ties, share, lower, upper, winner)

    def verdict(self) -> str:
        """Why the canary has to go; "" while there is no reason."""
        return next((reason for reason in self._reasons() if reason), "")

    def _reasons(self) -> Iterator[str]:
        for kind in (self._alone, self._interleaved):
            if kind[CANARY].count >= self._guard.least_answers:
                yield self._too_many_failures(kind[CANARY], kind[PRODUCTION])
                yield self._too_slow(kind[CANARY], kind[PRODUCTION])
        if self._guard.interleaving:
            yield self._less_preferred()

    def _too_many_failures(self, canary: _Answers, production: _Answers) -> str:
        """The canary's share is above production's by more than the margin, as far as the one is at
        least and the other at most."""
        lower, _ = share_interval(canary.failures, canary.count, _BOUND_ALPHA, ANY)
        _, upper = share_interval(production.failures, production.count, _BOUND_ALPHA, ANY)
        if production.count < self._guard.least_answers:
            upper = min(upper, 0.5)  # a canary that mostly fails goes, whatever production does
        if lower <= upper + self._guard.failure_margin:
            return ""
        return (
            f"{canary.failures} of its {canary.count} answers failed or were degraded, of "
            f"production's {production.failures} of {production.count}: certainly more than "
            f"guard.failure_margin ({self._guard.failure_margin:g}) above"
        )

    def _too_slow(self, canary: _Answers, production: _Answers) -> str:
        """More than 1 % of the canary's answers took longer than the ratio allows."""
        p99 = _p99_at_most(production.times)
        if not self._guard.p99_ratio or p99 is None:
            return ""
        limit = p99 * self._guard.p99_ratio
        slow = canary.times.count_above(limit)
        if slow <= SLOW_SHARE * canary.count or not is_ruled_out(
            slow, canary.count, SLOW_SHARE, _BOUND_ALPHA, NEAR_ONE_PERCENT
        ):
            return ""
        return (
            f"{slow} of its {canary.count} answers took longer than {limit * 1e3:.0f} ms, "
            f"guard.p99_ratio ({self._guard.p99_ratio:g}) times production's 99th percentile: "
            "certainly more than 1 %"
        )

    def _less_preferred(self) -> str:
        seen = self.preference()
        if seen.winner != PRODUCTION:
            return ""
        return (
            f"of {seen.canary_wins + seen.production_wins} interleaved sessions with a preference "
            f"{seen.production_wins} preferred production's rankings (the canary's share is "
            f"{seen.lower:.3f} to {seen.upper:.3f})"
        )


def _p99_at_most(times: Durations) -> float | None:
    """The least time of which it is certain that no more than 1 % of the answers take longer; None
    while there are too few (some 800).

    Quantiles are bounded by the shares above them: Howard and Ramdas, "Sequential Estimation of
    Quantiles with Applications to A/B Testing and Best-Arm Identification", Bernoulli 28(3), 2022.
    """
    least = None
    for seconds, above in times.longest_first():
        certain = above < SLOW_SHARE * times.count and is_ruled_out(
            above, times.count, SLOW_SHARE, _BOUND_ALPHA, NEAR_ONE_PERCENT
        )
        if not certain:
            break
        least = seconds
    return least
