"""Click logs whose truth is known: logging policies, and clicks drawn by formulas written here."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from sidecar.simulation.click_models import CLICK_MODELS
from training.clicks.log import ClickLog, FloatArray, IntArray, click_log

RANKS = np.arange(1, 11)


@dataclass(frozen=True)
class World:
    """A log, the examinations that its clicks were drawn with, and what is relevant."""

    log: ClickLog
    propensities: FloatArray  # (ranks,) relative to rank 1
    relevances: FloatArray  # (queries, documents)


@dataclass(frozen=True)
class Policy:
    """A logging policy over 30 documents a query: how far its scores are off, how much its rankings
    change from one impression to the next, and in what share of them two neighbours are swapped."""

    error: float
    change: float
    swaps: float = 0.0

    def documents(self, relevances: FloatArray, queries: IntArray, seed: int) -> IntArray:
        source = np.random.default_rng(seed)
        scores = relevances + source.normal(0, self.error, size=relevances.shape)
        moved = self.change * source.normal(size=(len(queries), relevances.shape[1]))
        documents = np.argsort(-(scores[queries] + moved), axis=1)[:, : len(RANKS)]
        rows = np.flatnonzero(source.random(len(queries)) < self.swaps)
        upper = source.integers(len(RANKS) - 1, size=len(rows))
        above = documents[rows, upper]
        documents[rows, upper], documents[rows, upper + 1] = documents[rows, upper + 1], above
        return documents


WEAK = Policy(error=2.0, change=0.5)
STRONG = Policy(error=0.15, change=0.15)
FIXED = Policy(error=0.5, change=0.0)
# As feedback.exploration_share has it.
SWAPPED = Policy(error=2.0, change=0.0, swaps=0.02)
POLICIES = {"weak": WEAK, "strong": STRONG}


def a_world(
    clicks: str, policy: Policy = WEAK, sessions: int = 20_000, queries: int = 200, seed: int = 0
) -> World:
    """`clicks`: pbm, trust, cascade or dcm."""
    source = np.random.default_rng(seed)
    grades = source.choice([0, 0, 0, 1, 2, 3, 4], size=(queries, 30))
    relevances = 0.05 + 0.95 * (2.0**grades - 1) / 15
    asked = source.integers(queries, size=sessions)
    documents = policy.documents(relevances, asked, seed + 1)
    shown = np.take_along_axis(relevances[asked], documents, axis=1)
    clicked, propensities = drawn(clicks, shown, source)
    names = {
        "query_names": tuple(map(str, range(queries))),
        "document_names": tuple(map(str, range(30))),
    }
    log = click_log(asked, documents, clicks=clicked, times=np.arange(sessions), **names)
    return World(log, propensities, relevances)


def drawn(
    clicks: str, shown: FloatArray, source: np.random.Generator
) -> tuple[np.ndarray, FloatArray]:
    """(clicks, propensities) of shown relevances (impressions, ranks)."""
    if clicks == "pbm":
        return source.random(shown.shape) < shown / RANKS, 1 / RANKS
    if clicks == "trust":
        right, wrong = 1 - (RANKS + 1) / 100, 0.65 / RANKS
        slopes = (right - wrong) / RANKS
        chance = (right * shown + wrong * (1 - shown)) / RANKS
        return source.random(shown.shape) < chance, slopes / slopes[0]
    going_on = {"cascade": 0.0, "dcm": 0.6}[clicks]
    looking = np.ones(len(shown), dtype=bool)
    clicked, examined = np.zeros(shown.shape, dtype=bool), np.zeros(len(RANKS))
    chance = np.ones(len(shown))
    for rank in range(len(RANKS)):
        examined[rank] = chance.mean()
        chance = chance * (1 - shown[:, rank] * (1 - going_on))
        clicked[:, rank] = looking & (source.random(len(shown)) < shown[:, rank])
        looking &= ~clicked[:, rank] | (source.random(len(shown)) < going_on)
    return clicked, examined


def a_world_of_the_simulation(
    clicks: str, policy: Policy = WEAK, sessions: int = 10_000, queries: int = 100, seed: int = 3
) -> World:
    """The same with the clicks of sidecar/simulation."""
    world = a_world("pbm", policy, sessions, queries, seed)
    log, model, source = world.log, CLICK_MODELS[clicks], random.Random(seed)
    shown = np.take_along_axis(world.relevances[log.queries], log.documents, axis=1).tolist()
    clicked = np.array([model.clicks(row, source) for row in shown])
    examined = np.array([model.examinations(row) for row in shown]).mean(axis=0)
    again = click_log(
        log.queries,
        log.documents,
        clicks=clicked,
        query_names=log.query_names,
        document_names=log.document_names,
    )
    return World(again, examined / examined[0], world.relevances)
