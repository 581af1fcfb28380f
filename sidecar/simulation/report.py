"""What a simulation came to: counts, rates and times, as numbers and as a table."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Counts = collections.Counter[str]
Ranks = collections.Counter[int]


@dataclass(slots=True)
class Report:
    """Filled in while the users are at it."""

    seconds: float = 0.0
    sessions: int = 0
    searches: int = 0
    failed_searches: int = 0
    without_token: int = 0
    explored: int = 0  # rankings of which two neighbours were swapped
    retries: int = 0  # calls that were sent again
    joined: int = 0
    statuses: Counts = field(default_factory=collections.Counter)
    refusals: Counts = field(default_factory=collections.Counter)
    actions: Counts = field(default_factory=collections.Counter)
    variants: Counts = field(default_factory=collections.Counter)
    shown: Ranks = field(default_factory=collections.Counter)
    clicks: Ranks = field(default_factory=collections.Counter)
    search_seconds: list[float] = field(default_factory=list)
    event_seconds: list[float] = field(default_factory=list)  # of calls, from the first try on

    @property
    def events(self) -> int:
        """Events that were answered, each once."""
        return self.statuses.total()

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON. Rates are per second, times in milliseconds."""
        seconds = self.seconds or math.inf
        accepted = self.events - self.statuses["REFUSED"]
        return {
            "sessions": self.sessions,
            "seconds": round(self.seconds, 3),
            "searches": self.searches,
            "searches_per_second": round(self.searches / seconds, 2),
            "search_milliseconds": _percentiles(self.search_seconds),
            "failed_searches": self.failed_searches,
            "without_token": self.without_token,
            "retries": self.retries,
            "events": self.events,
            "events_per_second": round(self.events / seconds, 2),
            "event_call_milliseconds": _percentiles(self.event_seconds),
            "joined_share": round(self.joined / accepted, 5) if accepted else None,
            "statuses": dict(self.statuses),
            "refusals": dict(self.refusals),
            "actions": dict(self.actions),
            "variants": dict(self.variants),
            "explored": self.explored,
            "ranks": [
                {"rank": rank, "shown": shown, "clicks": self.clicks[rank]}
                for rank, shown in sorted(self.shown.items())
            ],
        }

    def lines(self) -> Iterator[str]:
        """The same to read."""
        figures = self.to_dict()
        yield (
            f"{self.sessions:,} sessions in {self.seconds:.1f} s: "
            f"{self.searches:,} searches ({figures['searches_per_second']:,} a second, "
            f"{_in_words(figures['search_milliseconds'])}), {self.failed_searches:,} failed"
        )
        yield (
            f"{self.events:,} events ({figures['events_per_second']:,} a second, "
            f"{_in_words(figures['event_call_milliseconds'])} a call): {_listed(self.statuses)}"
        )
        yield f"{self.joined:,} of the logged ones joined, {self.retries:,} calls sent again"
        if self.refusals:
            yield f"refused: {_listed(self.refusals)}"
        if self.without_token:
            yield f"{self.without_token:,} rankings without a token: the server logs no impressions"
        yield f"actions: {_listed(self.actions)}"
        yield f"rankings: {_listed(self.variants)}; explored with {self.explored:,}"
        yield f"{'rank':>4}{'shown':>10}{'clicks':>10}{'rate':>8}"
        for rank, shown in sorted(self.shown.items()):
            clicks = self.clicks[rank]
            yield f"{rank:>4}{shown:>10,}{clicks:>10,}{clicks / shown:>8.3f}"


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99 by the nearest rank; empty without a time."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    ranks = {"p50": 0.5, "p99": 0.99}
    return {
        name: round(1e3 * ordered[math.ceil(share * len(ordered)) - 1], 2)
        for name, share in ranks.items()
    }


def _in_words(percentiles: dict[str, float]) -> str:
    if not percentiles:
        return "no times"
    return f"p50 {percentiles['p50']:.1f} ms, p99 {percentiles['p99']:.1f} ms"


def _listed(counts: Counts) -> str:
    named = (f"{name.lower().replace('_', ' ')} {n:,}" for name, n in sorted(counts.items()))
    return ", ".join(named) or "none"
