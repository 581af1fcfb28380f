"""Sessions that are no people: they ask too fast, or click nearly all that they are shown.

What this cannot find: programs that ask as slowly as people and click as seldom, or that take a
session of their own for every query. Impressions of no known session are sessions of their own and
thus never found; impressions without a time are never too fast.
"""

from __future__ import annotations

import numpy as np

from training.clicks.log import BoolArray, ClickLog, IntArray

WINDOW_SECONDS = 60.0
LEAST_IMPRESSIONS = 10  # of a session whose share of clicks says something


def asks_too_fast(log: ClickLog, most_a_minute: float) -> BoolArray:
    """(impressions,): those of sessions with more than `most_a_minute` impressions within some 60
    seconds; 0: none are."""
    if most_a_minute <= 0:
        return np.zeros(log.impressions, dtype=bool)
    rows = np.flatnonzero(log.times > 0)
    order = rows[np.lexsort([log.times[rows], log.sessions[rows]])]
    sessions, times = log.sessions[order], log.times[order]
    most = int(most_a_minute)
    # The impression `most` places on is one too many if it comes within the window.
    same = sessions[most:] == sessions[: len(sessions) - most]
    near = times[most:] - times[: len(times) - most] < WINDOW_SECONDS
    return np.isin(log.sessions, np.unique(sessions[most:][same & near]))


def clicks_too_much(log: ClickLog, most_share: float) -> BoolArray:
    """(impressions,): those of sessions of LEAST_IMPRESSIONS or more that clicked more than
    `most_share` of what they were shown; 0: none are."""
    if most_share <= 0 or not log.impressions:
        return np.zeros(log.impressions, dtype=bool)
    number_of: IntArray = np.unique(log.sessions, return_inverse=True)[1]
    shown = np.bincount(number_of, log.shown.sum(axis=1))
    clicked = np.bincount(number_of, log.clicks.sum(axis=1))
    long = np.bincount(number_of) >= LEAST_IMPRESSIONS
    bots: BoolArray = long & (clicked > most_share * shown)
    return bots[number_of]
