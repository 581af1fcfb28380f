"""Simulated users: sessions of one to a few queries of a judged set, and what they do with what
they are shown.

All of it follows from the seed: the same seed gives the same sessions and, for the same rankings,
the same actions, whatever else goes on at the same time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sidecar.feedback_types import Action
from sidecar.simulation.click_models import ClickModel, attractiveness

MORE_QUERIES = 0.4  # probability of another one after each
MOST_QUERIES = 5
DWELL_SECONDS = 10.0, 60.0  # medians, after a hit worth nothing and one worth most
DWELL_SPREAD = 0.8  # standard deviation of its logarithm
CARTS = 0.4  # probability after a click, times the hit's worth
ORDERS = 0.5  # probability after a cart addition
ORDER_MEDIAN = 25.0


class Judged(Protocol):
    """A judged set, as `evaluation` reads one."""

    @property
    def queries(self) -> Mapping[str, str]:
        """Query id -> text."""

    @property
    def qrels(self) -> Mapping[str, Mapping[str, int]]:
        """Query id -> doc_id -> grade."""


@dataclass(frozen=True, slots=True)
class Session:
    """A user's queries (ids of the set's), one after the other."""

    number: int
    session_id: str
    user_id: str
    query_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a user does with a ranking; `rank` and `doc_id` are unset for a view.

    `value`: seconds of a dwell, worth of an order, last rank of a view.
    """

    event_id: str
    action: Action
    doc_id: str = ""
    rank: int = 0
    value: float | None = None


class Users:
    """A population over a judged set. `run` makes the event ids of one run its own, so that
    sessions that are run again are not taken for repeated calls; sessions and users are the
    seed's."""

    def __init__(
        self, judged: Judged, model: ClickModel, seed: int, run: str, population: int = 10_000
    ) -> None:
        self._judged = judged
        self._query_ids = tuple(judged.queries)
        self._model = model
        self._seed = seed
        self._run = run
        self._population = population
        self._highest = max((max(grades.values()) for grades in judged.qrels.values()), default=1)

    def session(self, number: int) -> Session:
        """The session of a number, from 0."""
        source = self._source(number)
        query_ids = [source.choice(self._query_ids)]
        while len(query_ids) < MOST_QUERIES and source.random() < MORE_QUERIES:
            query_ids.append(source.choice(self._query_ids))
        user = source.randrange(self._population)
        name = f"{self._seed}-{number}"
        return Session(number, f"session-{name}", f"user-{self._seed}-{user}", tuple(query_ids))

    def text(self, query_id: str) -> str:
        """The query's words."""
        return self._judged.queries[query_id]

    def acts(self, session: Session, turn: int, doc_ids: Sequence[str]) -> list[Act]:
        """What the user does with the ranking of the query of `turn`, from 0: looks at it, and
        clicks some of it."""
        relevances = self._relevances(session.query_ids[turn], doc_ids)
        source = self._source(session.number, turn)
        clicked = self._model.clicks(relevances, source)
        name = f"{self._run}-{session.number}-{turn}"
        acts = [Act(f"{name}-view", Action.VIEW, value=len(doc_ids))]
        for rank, doc_id in enumerate(doc_ids, start=1):
            if clicked[rank - 1]:
                steps = self._steps(relevances[rank - 1], self._source(session.number, turn, rank))
                acts += [
                    Act(f"{name}-{rank}-{action}", action, doc_id, rank, value)
                    for action, value in steps
                ]
        return acts

    def _relevances(self, query_id: str, doc_ids: Sequence[str]) -> list[float]:
        grades = self._judged.qrels[query_id]
        return [attractiveness(grades.get(doc_id, 0), self._highest) for doc_id in doc_ids]

    def _steps(
        self, relevance: float, source: random.Random
    ) -> Iterator[tuple[Action, float | None]]:
        """A click and what follows from it, the more likely the more the hit is worth."""
        yield Action.CLICK, None
        least, most = DWELL_SECONDS
        median = least + (most - least) * relevance
        yield Action.DWELL, round(source.lognormvariate(math.log(median), DWELL_SPREAD), 1)
        if source.random() < CARTS * relevance:
            yield Action.CART_ADDITION, None
            if source.random() < ORDERS:
                yield Action.ORDER, round(source.lognormvariate(math.log(ORDER_MEDIAN), 0.5), 2)

    def _source(self, *place: int) -> random.Random:
        """Randomness of one place: the same for the same seed, in every process."""
        return random.Random("/".join(map(str, (self._seed, *place))))
