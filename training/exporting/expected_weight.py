"""The share of a reranker's score that the log tells: from what users were shown alone.

    grade = a + b z(earlier) + c z(model),  share = c / (b + c)

by least squares over the documents that were shown, z within a query's candidates as the sidecar
joins both (sidecar/rerank/combination.py), grades those that the log lets expect
(labels/expected_grades.py). No ranking is measured, so nothing has to be said of what nobody saw;
and that production chose by these scores what was shown takes no line off its slopes, since it is
the scores themselves that are held fixed. Measured rankings of the same lists told shares apart
hardly at all, and favoured the one that had served (benchmarks/loop.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.rerank.combination import standardise
from training.exporting.dev_pairs import DevPairs, Floats
from training.lists import OF_THE_LOG, TrainingList

LEAST_SHOWN = 3  # documents of a list that were shown: fewer have no slope of their own
DRAWS = 500
_SEED = 0


@dataclass(frozen=True, slots=True)
class ExpectedWeight:
    """`weight`: 0 to 1; `error`: its standard error, queries drawn again; `lists`: that told it."""

    weight: float
    error: float
    lists: int


def expected_weight(dev: DevPairs, scores: Floats, earlier: Floats) -> ExpectedWeight | None:
    """`scores`, `earlier`: (pairs,) of the model, and of the stage before. None where they tell
    nothing: too few documents were shown, or neither score rises with what users want."""
    parts = [
        _moments(one, own, before)
        for (one, own), (_, before) in zip(dev.by_list(scores), dev.by_list(earlier), strict=True)
        if sum(each.source in OF_THE_LOG for each in one.candidates) >= LEAST_SHOWN
    ]
    if not parts:
        return None
    squares, products = (np.array(each) for each in zip(*parts, strict=True))
    weight = _share(squares.sum(axis=0), products.sum(axis=0))
    if weight is None:
        return None
    source, drawn = np.random.default_rng(_SEED), []
    for _ in range(DRAWS):
        places = source.integers(len(parts), size=len(parts))
        drawn.append(_share(squares[places].sum(axis=0), products[places].sum(axis=0)))
    told = [each for each in drawn if each is not None]
    return ExpectedWeight(round(weight, 2), float(np.std(told)), len(parts))


def _moments(one: TrainingList, own: Floats, before: Floats) -> tuple[Floats, Floats]:
    """X'X (3, 3) and X'y (3,) of the documents of a list that were shown."""
    shown = [each.source in OF_THE_LOG for each in one.candidates]
    grades = np.array([each.grade for each in one.candidates])[shown]
    columns = np.ones(len(shown)), standardise(before), standardise(own)
    rows = np.column_stack(columns)[shown]
    return rows.T @ rows, rows.T @ grades


def _share(squares: Floats, products: Floats) -> float | None:
    """Of the model's slope in both; a slope below 0 counts as none."""
    slopes = np.linalg.lstsq(squares, products, rcond=None)[0][1:].clip(min=0.0)
    total = float(slopes.sum())
    return float(slopes[1]) / total if total > 0 else None
