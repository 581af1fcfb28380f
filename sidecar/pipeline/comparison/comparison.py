"""How a canary does against production while both answer: answers, failures, times, preference.

What is concluded holds however often one looks (confidence.py). Answers are compared with answers
of the same kind: those of an interleaved ranking are slower, since both variants work on it at
once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sidecar.config import GuardConfig
from sidecar.pipeline.comparison.canary_guard import reasons
from sidecar.pipeline.comparison.confidence import NEAR_HALF, share_interval
from sidecar.pipeline.comparison.session_credits import SessionCredits
from sidecar.pipeline.comparison.statistics import Answers, Preference, VariantStatistics
from sidecar.pipeline.variant import CANARY, PRODUCTION

PREFERENCE_ALPHA = 0.05  # of an interval that ever misses the true share
_CREDITS = {CANARY: 1, PRODUCTION: -1}


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
        self._alone = {CANARY: Answers(), PRODUCTION: Answers()}
        self._interleaved = {CANARY: Answers(), PRODUCTION: Answers()}

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
        kinds = ((kind[CANARY], kind[PRODUCTION]) for kind in (self._alone, self._interleaved))
        found = reasons(kinds, self.preference, self._guard)
        return next((reason for reason in found if reason), "")
