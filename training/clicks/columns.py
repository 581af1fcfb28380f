"""Columns of impressions and of events, as files give them, and the click log that they make.

Names come as numbers with a table of names, as Arrow's dictionaries have them, so that no string is
looked at twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.feedback_types import Action
from training.clicks.log import (
    NO_RATING,
    UNSHOWN,
    BoolArray,
    ClickLog,
    FloatArray,
    IntArray,
    click_log,
    lowest_rank,
)

MOST_RANKS = 100  # of a ranking that are kept: one that is longer would widen every row
ACTIONS = {action.value: number for number, action in enumerate(Action)}
_FOLLOWS_A_CLICK = (Action.CLICK, Action.DWELL, Action.CART_ADDITION, Action.ORDER)


@dataclass(frozen=True, slots=True)
class Names:
    """A column of names: `codes` (rows,) are places in `names`, which are all different."""

    codes: IntArray
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Impressions:
    """Rows are impressions; the shown documents of all of them stand behind one another."""

    queries: Names
    sessions: Names  # the name "": not known
    times: FloatArray
    swapped_ranks: IntArray
    exploration_shares: FloatArray
    lengths: IntArray
    documents: Names  # (all shown,)


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Rows are events, in any order."""

    rows: IntArray  # places of their impressions, -1: of one that is not there
    actions: IntArray  # ACTIONS
    documents: IntArray  # places in the names of the impressions' documents, UNSHOWN: none
    values: FloatArray  # NaN: none
    times: FloatArray

    def of(self, *actions: Action) -> BoolArray:
        """(events,): those of known impressions that are one of the actions."""
        wanted = [ACTIONS[action.value] for action in actions]
        chosen: BoolArray = np.isin(self.actions, wanted) & (self.rows >= 0)
        return chosen


def names_of(column: Sequence[str]) -> Names:
    """The different names as they first come."""
    places: dict[str, int] = {}
    codes = [places.setdefault(name, len(places)) for name in column]
    return Names(np.array(codes, dtype=np.int64), tuple(places))


def build(
    given: Impressions, events: Events, told: Counter[str], most_ranks: int = MOST_RANKS
) -> ClickLog:
    """`told` counts the hits that are below the last rank that is kept, and events of none."""
    documents = _by_rank(given, min(int(given.lengths.max(initial=0)), most_ranks))
    told["hits below the last rank that is kept"] += int(
        np.maximum(given.lengths - most_ranks, 0).sum()
    )
    told["events of impressions that are not there"] += int((events.rows < 0).sum())
    swapped = np.where(given.swapped_ranks < documents.shape[1], given.swapped_ranks, 0)
    return click_log(
        given.queries.codes,
        documents,
        query_names=given.queries.names,
        document_names=given.documents.names,
        sessions=_sessions(given.sessions),
        times=given.times,
        swapped_ranks=swapped,
        swap_probabilities=given.exploration_shares / np.maximum(given.lengths - 1, 1),
        **_columns(documents, events),
    )


def _by_rank(given: Impressions, ranks: int) -> IntArray:
    """(impressions, ranks)."""
    shown = np.arange(ranks) < given.lengths[:, None]
    documents = np.full(shown.shape, UNSHOWN, dtype=np.int64)
    codes = given.documents.codes
    if (given.lengths > ranks).any():
        begins = np.cumsum(given.lengths) - given.lengths
        rank = np.arange(len(codes)) - np.repeat(begins, given.lengths)
        codes = codes[rank < ranks]
    documents[shown] = codes
    return documents


def _columns(documents: IntArray, events: Events) -> dict[str, NDArray[Any]]:
    """What was done, (impressions, ranks) or (impressions,) each."""
    events = _by_time(events)
    ranks = _ranks(documents, events)
    rows, values = events.rows, events.values

    def marked(*wanted: Action) -> BoolArray:
        mask, chosen = np.zeros(documents.shape, dtype=bool), events.of(*wanted) & (ranks > 0)
        mask[rows[chosen], ranks[chosen] - 1] = True
        return mask

    clicks = marked(*_FOLLOWS_A_CLICK)
    last = lowest_rank(clicks)
    clicked = events.of(Action.CLICK) & (ranks > 0)
    last[rows[clicked]] = ranks[clicked]  # in the order of time: the last one stays
    viewed = np.zeros(len(documents), dtype=np.int64)
    views = events.of(Action.VIEW)
    np.maximum.at(viewed, rows[views], np.nan_to_num(values[views]).astype(np.int64))
    dwell, ratings = np.full(documents.shape, np.nan), np.full(documents.shape, NO_RATING)
    stays, rated = events.of(Action.DWELL) & (ranks > 0), events.of(Action.RATING) & (ranks > 0)
    np.fmax.at(dwell, (rows[stays], ranks[stays] - 1), values[stays])
    ratings[rows[rated], ranks[rated] - 1] = values[rated]
    return {
        "clicks": clicks,
        "last_clicked_ranks": last,
        "viewed_ranks": viewed,
        "dwell_seconds": dwell,
        "ratings": ratings,
        "carts": marked(Action.CART_ADDITION),
        "orders": marked(Action.ORDER),
        "skips": marked(Action.SKIP),
    }


def _by_time(events: Events) -> Events:
    order = np.argsort(events.times, kind="stable")
    return Events(
        events.rows[order],
        events.actions[order],
        events.documents[order],
        events.values[order],
        events.times[order],
    )


def _ranks(documents: IntArray, events: Events) -> IntArray:
    """(events,): at which rank their documents were shown, 0: at none."""
    if not len(events.rows) or not documents.size:
        return np.zeros(len(events.rows), dtype=np.int64)
    wanted = events.documents[:, None]
    at = (documents[events.rows] == wanted) & (wanted != UNSHOWN)
    return np.where(at.any(axis=1), at.argmax(axis=1) + 1, 0)


def _sessions(given: Names) -> IntArray:
    """Numbers; an impression of no known session is one of its own."""
    unknown = given.names.index("") if "" in given.names else -1
    alone = given.codes == unknown
    numbers = given.codes.copy()
    numbers[alone] = len(given.names) + np.arange(int(alone.sum()))
    return numbers
