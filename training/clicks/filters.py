"""Impressions that nothing is to be learnt from, and why: a count for each reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.clicks.bots import asks_too_fast, clicks_too_much
from training.clicks.log import BoolArray, ClickLog
from training.personal import personal

PERSONAL = "personal data in the query"


@dataclass(frozen=True, slots=True)
class Filters:
    """0 and False switch a filter off."""

    drop_personal: bool = True
    most_impressions_a_minute: float = 30.0
    most_clicks_share: float = 0.9
    most_query_characters: int = 512

    def why_not(self, query: str) -> str:
        """Why a query is left out, "" if it is not. Never repeats the query."""
        if not query.strip():
            return "an empty query"
        if self.most_query_characters and len(query) > self.most_query_characters:
            return f"a query of more than {self.most_query_characters} characters"
        found = personal(query) if self.drop_personal else ""
        return f"{PERSONAL}: {found}" if found else ""

    def apply(self, log: ClickLog, left_out: Counter[str]) -> ClickLog:
        """What is left; `left_out` counts impressions by reason, each by the first that holds."""
        gone = np.zeros(log.impressions, dtype=bool)
        for reason, marked in self._marked(log):
            left_out[reason] += int((marked & ~gone).sum())
            gone |= marked
        return log.select(~gone) if gone.any() else log

    def _marked(self, log: ClickLog) -> Iterator[tuple[str, BoolArray]]:
        yield "nothing was shown", log.shown.sum(axis=1) == 0
        reasons = [self.why_not(name) for name in log.query_names]
        yield from _by_query(log, reasons)
        yield "bot: asks too fast", asks_too_fast(log, self.most_impressions_a_minute)
        yield "bot: clicks nearly all", clicks_too_much(log, self.most_clicks_share)


def _by_query(log: ClickLog, reasons: list[str]) -> Iterator[tuple[str, BoolArray]]:
    """`reasons` are those of the queries, "" for none."""
    each = np.array(reasons, dtype=np.str_)
    for reason in sorted(set(reasons) - {""}):
        yield reason, np.equal(each, reason)[log.queries]
