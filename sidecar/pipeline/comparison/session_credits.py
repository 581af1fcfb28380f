"""Which of two interleaved rankings each session preferred, by the hits that it clicked.

A session counts once, when it has been quiet for a while, and then for good: outcomes that could
still change would not be the independent trials that a confidence sequence is about.
"""

from __future__ import annotations

from collections import OrderedDict

# Sessions are told apart by their ids, which are kept: some 30 MB. The interval of so many sessions
# is narrower than anybody asks for.
MOST_SESSIONS = 200_000


class SessionCredits:
    """Clicks of sessions on the hits of either, +1 and -1, until they are quiet; then outcomes."""

    def __init__(self, quiet_seconds: float) -> None:
        self.wins = 0
        self.losses = 0
        self.ties = 0
        self._quiet_seconds = quiet_seconds
        self._open: OrderedDict[str, tuple[float, int]] = OrderedDict()  # the quietest first
        self._counted: set[str] = set()

    def credit(self, session: str, points: int, now: float) -> None:
        """A click of a session. Passed over if the session has counted already."""
        self.settle(now)
        if session in self._counted or (session not in self._open and self._is_full()):
            return
        _, before = self._open.pop(session, (now, 0))
        self._open[session] = (now, before + points)

    def settle(self, now: float) -> None:
        """Counts the sessions that are quiet by now."""
        while self._open:
            session, (last, points) = next(iter(self._open.items()))
            if now - last < self._quiet_seconds:
                return
            del self._open[session]
            self._count(session, points)

    def _is_full(self) -> bool:
        return len(self._counted) + len(self._open) >= MOST_SESSIONS

    def _count(self, session: str, points: int) -> None:
        self._counted.add(session)
        if points > 0:
            self.wins += 1
        elif points < 0:
            self.losses += 1
        else:
            self.ties += 1
