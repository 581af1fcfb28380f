"""Can a log tell what an estimator says of it? Shared pairs, confidence intervals, and a verdict.

A position-based propensity of rank k is identified by chains of ranks, from rank 1 to k, of which
every two neighbours have shown the same (query, document) pairs, and these were clicked. How well
is told by drawing the sessions again (a bootstrap): a rank counts as identified if its 95 %
interval reaches no further than `tolerance` to either side, and if fits on half of the sessions do
not lie apart from that on all of them: what changes with the length of a log is not learnt yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import BoolArray, ClickLog, FloatArray, IntArray
from training.propensity.base import Estimator
from training.propensity.cells import Cells, count_cells
from training.propensity.halves import halved

TOLERANCE = 0.05
RESAMPLES = 20
_LEAST_CLICKS = 10
_DEVIATIONS = 1.96
# Estimators whose propensities come from what is shown above, not from pairs at several ranks.
FROM_CLICKS_ABOVE = ("cascade", "dcm")
GIVEN = ("none", "file")


@dataclass(frozen=True, slots=True, eq=False)
class Identifiability:
    """What an estimator says of a log, and how much of it the log can bear out."""

    estimator: str
    pairs_at_both: IntArray  # (ranks, ranks) pairs shown at both; the diagonal: at the rank
    propensities: FloatArray  # (ranks,)
    lower: FloatArray  # (ranks,) ends of 95 % intervals
    upper: FloatArray  # (ranks,)
    reasons: tuple[str, ...]  # (ranks,) why a rank is not identified, "" if it is

    @property
    def identified(self) -> BoolArray:
        """(ranks,)."""
        return np.array([not reason for reason in self.reasons])

    @property
    def all_identified(self) -> bool:
        """Whether every rank is."""
        return not any(self.reasons)

    def lines(self) -> list[str]:
        """A table for people, one line a rank."""
        head = f"{'rank':>4} {'propensity':>10} {'95 %':>13} {'pairs':>7}  {self.estimator}"
        lines = [head]
        for k, reason in enumerate(self.reasons):
            others = np.delete(self.pairs_at_both[k], k)
            shared = int(others.max(initial=0))
            interval = f"{self.lower[k]:.3f}-{self.upper[k]:.3f}"
            verdict = reason or "identified"
            value = self.propensities[k]
            lines.append(f"{k + 1:>4} {value:>10.3f} {interval:>13} {shared:>7}  {verdict}")
        return lines


def identifiability(
    estimator: Estimator,
    log: ClickLog,
    resamples: int = RESAMPLES,
    tolerance: float = TOLERANCE,
    seed: int = 1,
) -> Identifiability:
    """Of an estimator on a log. Fits it `resamples` + 1 times."""
    cells = count_cells(log)
    values = estimator.fit(log).propensities
    spread = _DEVIATIONS * bootstrap_errors(estimator, log, resamples, seed)
    halves = np.mean([estimator.fit(half).propensities for half in halved(log)], axis=0)
    by_position = estimator.name not in FROM_CLICKS_ABOVE
    linked = linked_to_first(cells) if by_position else np.ones(log.ranks, dtype=bool)
    reasons = [
        _reason(linked[k], spread[k], abs(values[k] - halves[k]), tolerance)
        for k in range(log.ranks)
    ]
    if estimator.name in GIVEN:
        reasons = ["given, not learnt from this log"] * log.ranks
    return Identifiability(
        estimator.name,
        pairs_at_both(cells),
        values,
        values - spread,
        values + spread,
        tuple(reasons),
    )


def bootstrap_errors(
    estimator: Estimator, log: ClickLog, resamples: int = RESAMPLES, seed: int = 1
) -> FloatArray:
    """(ranks,): standard errors of the propensities, by drawing sessions with replacement; NaN for
    a rank of which a draw says nothing."""
    source = np.random.default_rng(seed)
    drawn = [estimator.fit(log.resampled(source)).propensities for _ in range(resamples)]
    errors: FloatArray = np.array(drawn).reshape(resamples, log.ranks).std(axis=0, ddof=1)
    return errors


def pairs_at_both(cells: Cells) -> IntArray:
    """(ranks, ranks): how many (query, document) pairs were shown at one rank and at the other."""
    shown = (cells.tables()[0] > 0).astype(np.float64)
    return np.rint(shown.T @ shown).astype(np.int64)


def linked_to_first(cells: Cells) -> BoolArray:
    """(ranks,): ranks to which a chain of shared pairs leads from rank 1, each link with clicks at
    both of its ends."""
    impressions, clicks = cells.of_several_ranks().tables()
    shown, clicked = (impressions > 0).astype(np.float64), clicks
    ends = clicked.T @ shown  # (k, other): clicks at k on pairs that were also shown at other
    links = (ends >= _LEAST_CLICKS) & (ends.T >= _LEAST_CLICKS)
    reached = np.zeros(cells.rank_count, dtype=bool)
    reached[:1] = True
    for _ in range(cells.rank_count):
        reached = reached | (links & reached[:, None]).any(axis=0)
    return reached


def _reason(linked: bool, spread: float, shift: float, tolerance: float) -> str:
    if not linked:
        return f"no chain of pairs with {_LEAST_CLICKS} clicks at both of two ranks leads here"
    if not np.isfinite(spread + shift):
        return "some draws of the sessions say nothing of it"
    if spread > tolerance:
        return f"the interval reaches {spread:.2f} away, more than {tolerance:g}"
    if shift > max(tolerance / 2, spread):
        return f"half of the sessions say {shift:.2f} otherwise: too few impressions a pair"
    return ""
