"""`auto`: the labels that rank best by sessions that they were not made of, and plain click-through
rates unless others do.

Position nearly always matters, which a short log tells well. Whether labels are better for being
corrected is another question: a log that ranked well is hurt by it, as click-through rates that
follow its ranks follow what it knew. So

1. a log in which no document moved between ranks tells nothing of position, and keeps `none`;
2. the judge is the click model that foretells held-out clicks best, each counted by how often its
   document was seen at other ranks: where it never was, any model fits;
3. labels of each candidate, and of `none`, are held against clicks that were held out, each fold of
   the log in its turn, corrected as the judge has it: DCG@10 (`held_out.py`);
4. a candidate is refused if it foretells clicks worse than `none`, or if its labels are worse
   beyond chance where no model is needed, within a rank (`concordance.py`);
5. of the others, the one that gains most, if what it gains is not mostly error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.clicks.log import ClickLog, FloatArray, IntArray
from training.labels.concordance import Concordance, ConcordanceGain, compare, concordance
from training.labels.from_clicks import LabelRules, label
from training.labels.held_out import Fold, Gain, gains
from training.propensity.base import ClickModel, Estimator
from training.propensity.cells import Cells, count_cells
from training.propensity.dcm import DependentClicks
from training.propensity.none import NoPropensity
from training.propensity.perplexity import click_bits
from training.propensity.power import PowerLaw
from training.propensity.report import linked_to_first
from training.propensity.trust import AffineTrustBias

_SEED = 1
# It knows relevances but for a shift, and what a click is worth at a rank depends on that.
_NO_JUDGES = ("trust",)
_WORSE = 2.0  # errors by which a difference is beyond chance
CANDIDATES: tuple[Estimator, ...] = (PowerLaw(), AffineTrustBias(), DependentClicks())


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one candidate against `none`, on held-out sessions."""

    gain: Gain
    nats: float  # log-likelihood of clicks on documents seen elsewhere, each, more than by none
    within_rank: ConcordanceGain
    refused: str  # why, "" if it is not

    def line(self, name: str) -> str:
        """For people."""
        verdict = f", refused: {self.refused}" if self.refused else ""
        return (
            f"{name}: labels {self.gain.share:+.4f} +- {self.gain.error:.4f} of DCG@10 over none, "
            f"{self.gain.queries} queries; clicks on documents seen elsewhere {self.nats:+.4f} "
            f"nats; concordance within a rank {self.within_rank.gain:+.4f} "
            f"+- {self.within_rank.error:.4f}{verdict}"
        )

    def to_json(self, name: str) -> dict[str, Any]:
        """What is not finite is null."""
        return {
            "name": name,
            "gain": _finite(self.gain.share),
            "error": _finite(self.gain.error),
            "queries": self.gain.queries,
            "nats": _finite(self.nats),
            "within_rank": {
                "gain": _finite(self.within_rank.gain),
                "error": _finite(self.within_rank.error),
                "p": _finite(self.within_rank.p),
            },
            "refused": self.refused or None,
        }


@dataclass(frozen=True, slots=True)
class EstimatorChoice:
    """The estimator that was chosen, and why."""

    estimator: Estimator
    judge: str  # whose examinations corrected the held-out clicks, "" where none did
    evidence: dict[str, Evidence]  # by candidate
    why: str

    def to_json(self) -> dict[str, Any]:
        """As choice.json has it."""
        candidates = [one.to_json(name) for name, one in self.evidence.items()]
        return {
            "estimator": self.estimator.name,
            "judge": self.judge or None,
            "candidates": candidates,
            "why": self.lines(),
        }

    def lines(self) -> list[str]:
        """For people."""
        lines = [one.line(name) for name, one in self.evidence.items()]
        return [*lines, f"chosen: {self.estimator.name} ({self.why})"]


@dataclass(frozen=True, slots=True)
class Auto:
    """Chooses, then fits the chosen one on the whole log.

    A gain counts less `caution` of its errors. The judge is drawn `draws` times. Of a longer log
    about `most_impressions` are looked at, whole sessions: the EM of the DCM would take minutes.
    """

    candidates: Sequence[Estimator] = CANDIDATES
    rules: LabelRules = field(default_factory=LabelRules)
    folds: int = 4
    draws: int = 8
    caution: float = 0.5
    most_impressions: int = 100_000
    name: str = "auto"

    def fit(self, log: ClickLog) -> ClickModel:
        """The chosen estimator's model, under that one's name."""
        return self.choose(log).estimator.fit(log)

    def choose(self, log: ClickLog) -> EstimatorChoice:
        """Of the candidates that are not refused, the one that gains most; else `none`."""
        if log.impressions > self.most_impressions:
            log = log.split(self.most_impressions / log.impressions, _SEED)[1]
        none, cells = NoPropensity(), count_cells(log)
        if not linked_to_first(cells)[1:].any():
            why = "no documents with clicks moved between ranks: nothing tells position"
            return EstimatorChoice(none, "", {}, why)
        trials = self._trials(log, cells)
        able = [name for name in trials.nats if name not in _NO_JUDGES]
        judge = max(able, key=lambda name: trials.nats[name])
        evidence = self._evidence(log, trials, judge)
        best = max(self.candidates, key=lambda one: self._worth(evidence[one.name]), default=none)
        if best is none or self._worth(evidence[best.name]) <= 0:
            why = f"by {judge}, no labels gain {self.caution:g} of their errors over those of none"
            return EstimatorChoice(none, judge, evidence, why)
        return EstimatorChoice(best, judge, evidence, f"by {judge}, its labels rank best")

    def _worth(self, evidence: Evidence) -> float:
        return 0.0 if evidence.refused else evidence.gain.share - self.caution * evidence.gain.error

    def _evidence(self, log: ClickLog, trials: _Trials, judge: str) -> dict[str, Evidence]:
        estimator = next(one for one in self._all if one.name == judge)
        source = np.random.default_rng(_SEED)
        judges = [estimator.fit(log.resampled(source)) for _ in range(self.draws)]
        found, none = gains(trials.folds, judges, "none"), trials.concordance("none")
        evidence = {}
        for name, gain in found.items():
            nats = trials.nats[name] - trials.nats["none"]
            within = compare(none, trials.concordance(name))
            evidence[name] = Evidence(gain, nats, within, refusal(nats, within))
        return evidence

    @property
    def _all(self) -> tuple[Estimator, ...]:
        return (NoPropensity(), *self.candidates)

    def _trials(self, log: ClickLog, cells: Cells) -> _Trials:
        """Each estimator's labels of the rest of each fold, and how it foretells the fold."""
        folds, moved, nats = [], 0.0, {one.name: 0.0 for one in self._all}
        for rest, held in log.folds(self.folds, _SEED):
            elsewhere, scores = _seen_elsewhere(held, cells), {}
            moved += float(held.weights @ elsewhere.sum(axis=1))
            for one in self._all:
                model = one.fit(rest)
                scores[one.name] = self._scores(model, rest, cells.pair_ids)
                bits = click_bits(model.conditional_click_probabilities(held), held)
                told = held.weights @ np.nansum(bits * elsewhere, axis=1)
                nats[one.name] -= np.log(2) * float(told)
            folds.append(Fold(held, cells.pair_ids, scores))
        return _Trials(folds, {name: value / max(moved, 1e-9) for name, value in nats.items()})

    def _scores(self, model: ClickModel, log: ClickLog, pair_ids: IntArray) -> FloatArray:
        """(pairs,): relevances of labels made of a log; those of pairs without a label are the
        mean."""
        labels = label(log, model, self.rules)
        if not len(labels.queries):
            return np.zeros(len(pair_ids))
        known = labels.queries * len(log.document_names) + labels.documents
        place = np.searchsorted(known, pair_ids).clip(max=len(known) - 1)
        mean = float(labels.relevances.mean())
        return np.where(known[place] == pair_ids, labels.relevances[place], mean)


@dataclass(frozen=True, slots=True, eq=False)
class _Trials:
    folds: list[Fold]
    nats: dict[str, float]  # a document seen elsewhere, by estimator

    def concordance(self, name: str) -> Concordance:
        """Of an estimator's labels with the sessions that they were not made of."""
        each = []
        for fold in self.folds:
            cells = count_cells(fold.held)
            place = np.searchsorted(fold.pair_ids, cells.pair_ids)
            each.append(concordance(fold.held, fold.scores[name][place], cells))
        return Concordance(
            np.sum([one.right for one in each], axis=0),
            np.sum([one.compared for one in each], axis=0),
        )


def _seen_elsewhere(held: ClickLog, cells: Cells) -> FloatArray:
    """(impressions, ranks): the share of its pair's impressions that are at other ranks."""
    impressions = cells.tables()[0]
    shares = 1 - impressions / np.maximum(impressions.sum(axis=1, keepdims=True), 1e-12)
    place = np.searchsorted(cells.pair_ids, held.pair_ids).clip(max=len(cells.pair_ids) - 1)
    return np.where(held.shown, shares[place, np.arange(held.ranks)], 0.0)


def refusal(nats: float, within_rank: ConcordanceGain) -> str:
    """Why a candidate is out of the question, "" if it is not."""
    if nats <= 0:
        return "foretells clicks no better than none"
    if within_rank.gain < -_WORSE * within_rank.error:
        return "its labels are worse within a rank"
    return ""


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
