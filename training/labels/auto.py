"""`auto`: plain click-through rates, unless sessions held out show that an estimator's labels are
better.

A log that ranked well and is short is hurt by correction: weak figures for rarely shown documents
cost more than the bias that goes. So each candidate's labels are held against those of `none` on
sessions of which neither was made, each fold of the log in its turn, by comparisons within a rank
(`concordance.py`), and `none` stays unless the gain is beyond chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.clicks.log import ClickLog, FloatArray, IntArray
from training.labels.concordance import Comparison, Concordance, compare, concordance
from training.labels.from_clicks import LabelRules, label
from training.propensity.base import ClickModel, Estimator
from training.propensity.cells import count_cells
from training.propensity.harvest import InterventionHarvest
from training.propensity.none import NoPropensity
from training.propensity.pbm import PositionBasedEM
from training.propensity.trust import AffineTrustBias

_SEED = 1
_SUMS = "right", "compared"
CANDIDATES: tuple[Estimator, ...] = (InterventionHarvest(), PositionBasedEM(), AffineTrustBias())


@dataclass(frozen=True, slots=True)
class Choice:
    """The estimator that was chosen, and why: each candidate's comparison with `none`, by name."""

    estimator: Estimator
    comparisons: dict[str, Comparison]
    significance: float

    def to_json(self) -> dict[str, Any]:
        """Each candidate's gain in concordance over none, its error, p, and the queries compared;
        what is not finite is null."""
        candidates = [
            {
                "name": name,
                "gain": _finite(one.gain),
                "error": _finite(one.error),
                "p": _finite(one.p),
                "queries": one.queries,
            }
            for name, one in self.comparisons.items()
        ]
        return {"estimator": self.estimator.name, "candidates": candidates, "why": self.lines()}

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            f"{name}: concordance {one.gain:+.4f} +- {one.error:.4f} over none, p {one.p:.3f}, "
            f"{one.queries} queries"
            for name, one in self.comparisons.items()
        ]
        return [*lines, f"chosen: {self.estimator.name} (p below {self.significance:.3g} is asked)"]


@dataclass(frozen=True, slots=True)
class Auto:
    """Chooses, then fits the chosen one on the whole log."""

    candidates: Sequence[Estimator] = CANDIDATES
    rules: LabelRules = field(default_factory=LabelRules)
    folds: int = 4
    significance: float = 0.01
    name: str = "auto"

    def fit(self, log: ClickLog) -> ClickModel:
        """The chosen estimator's model, under that one's name."""
        return self.choose(log).estimator.fit(log)

    def choose(self, log: ClickLog) -> Choice:
        """Of the candidates that are better beyond chance, Bonferroni's share of `significance`
        each, the one that gains most; else `none`."""
        none = NoPropensity()
        parts = log.folds(self.folds, _SEED)
        baseline = self._concordance(none, parts)
        comparisons = {
            one.name: compare(baseline, self._concordance(one, parts)) for one in self.candidates
        }
        asked = self.significance / max(len(self.candidates), 1)
        better = [one for one in self.candidates if comparisons[one.name].p < asked]
        chosen = max(better, key=lambda one: comparisons[one.name].gain, default=none)
        return Choice(chosen, comparisons, asked)

    def _concordance(
        self, estimator: Estimator, parts: Sequence[tuple[ClickLog, ClickLog]]
    ) -> Concordance:
        """Of labels with the sessions that they were not made of, over all parts."""
        each = []
        for rest, held in parts:
            cells = count_cells(held)
            each.append(concordance(held, self._scores(estimator, rest, cells.pair_ids), cells))
        right, compared = (np.sum([getattr(one, name) for one in each], axis=0) for name in _SUMS)
        return Concordance(right, compared)

    def _scores(self, estimator: Estimator, log: ClickLog, pair_ids: IntArray) -> FloatArray:
        """(pairs,): relevances of labels made of a log; those of pairs without a label are the
        mean."""
        labels = label(log, estimator.fit(log), self.rules)
        if not len(labels.queries):
            return np.zeros(len(pair_ids))
        known = labels.queries * len(log.document_names) + labels.documents
        place = np.searchsorted(known, pair_ids).clip(max=len(known) - 1)
        mean = float(labels.relevances.mean())
        return np.where(known[place] == pair_ids, labels.relevances[place], mean)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
