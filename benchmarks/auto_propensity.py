"""Whether `propensity.estimator = "auto"` is right: simulated logs whose truth is known.

    python benchmarks/auto_propensity.py [--seeds N] [--processes N] [--json]

A document has eight features; its relevance is a grade of one direction of them. The logging policy
ranks 30 documents a query by that direction and, `error` times as much, by another one, shows the
first ten, and is drawn anew for each impression (`change`) or not at all; `swaps` is the share of
impressions in which two neighbours are swapped, as `feedback.exploration_share` does. Clicks are
those of pbm (examination 1 / rank), trust, cascade and dcm (going on with .6).

labels   nDCG@10 of ranking the documents that a query showed by their labels, against the truth:
         `none` click-through rates, `auto` the chosen estimator's, `known` those corrected by the
         examinations that the clicks were drawn with.
learner  nDCG@10 on 300 other queries of a linear model fitted to the labels by least squares, each
         label weighed as the training lists weigh it; `full` is fitted to true relevances.
gain     auto less none.  share: of the way from none to full that auto goes, if it is .01 or more.
missed   the bar: auto at most .005 below none in labels and in the learner ("below"), and with a
         weak policy, 20,000 sessions, at least .7 of the learner's way ("share").

Means over seeds; `chosen` is what was chosen with each.
"""

from __future__ import annotations

import argparse
import itertools
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np

from sidecar.models.machine import read_machine
from training.clicks.log import BoolArray, ClickLog, FloatArray, click_log
from training.labels.estimator_choice import Auto
from training.labels.from_clicks import LabelRules, Labels, label
from training.propensity.base import PositionModel, Relevances

RANKS = np.arange(1, 11)
DOCUMENTS, FEATURES, TEST_QUERIES = 30, 8, 300
TOLERANCE, SHARE, LEAST_GAP = 0.005, 0.7, 0.01
RULES = LabelRules(least_impressions=0.0)
CLICKS = ("pbm", "trust", "cascade", "dcm")
SIZES = ((2000, 100), (5000, 100), (20_000, 100), (20_000, 1000))


@dataclass(frozen=True)
class Policy:
    error: float
    change: float = 0.0
    swaps: float = 0.0


POLICIES = {
    "weak": Policy(2.0, change=0.5),
    "weak 1 %": Policy(2.0, swaps=0.01),
    "weak 2 %": Policy(2.0, swaps=0.02),
    "weak 10 %": Policy(2.0, swaps=0.1),
    "strong": Policy(0.15, change=0.15),
    "strong 1 %": Policy(0.15, swaps=0.01),
    "strong 2 %": Policy(0.15, swaps=0.02),
    "strong 10 %": Policy(0.15, swaps=0.1),
    "fixed": Policy(0.5),
}


@dataclass(frozen=True)
class Cell:
    clicks: str
    policy: str
    sessions: int
    queries: int


@dataclass(frozen=True)
class Outcome:
    """nDCG@10 of one log."""

    chosen: str
    labels_none: float
    labels_auto: float
    labels_known: float
    learner_none: float
    learner_auto: float
    learner_full: float


@dataclass(frozen=True)
class Known:
    """The examinations that clicks were drawn with, before any click."""

    before: FloatArray  # (impressions, ranks)
    for_rank: FloatArray  # (ranks,)

    def examinations(self, log: ClickLog) -> FloatArray:
        return self.before

    def clicks_for_rank(self, log: ClickLog) -> FloatArray:
        return np.broadcast_to(self.for_rank, self.before.shape)


def features_and_relevances(
    queries: int, source: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """(queries, documents, features), (queries, documents): 4 in 7 have a grade above 0."""
    features = source.normal(size=(queries, DOCUMENTS, FEATURES))
    edges = [-0.18, 0.18, 0.57, 1.07]  # normal quantiles of 3, 4, 5 and 6 sevenths
    grades = np.searchsorted(edges, features[:, :, 0])
    return features, 0.05 + 0.95 * (2.0**grades - 1) / 15


def drawn(
    clicks: str, relevances: FloatArray, source: np.random.Generator
) -> tuple[BoolArray, Known]:
    """Clicks on shown relevances (impressions, ranks)."""
    zeros = np.zeros(len(RANKS))
    if clicks == "pbm":
        examined = np.broadcast_to(1 / RANKS, relevances.shape)
        return source.random(relevances.shape) < examined * relevances, Known(examined, zeros)
    if clicks == "trust":
        right, wrong = 1 - (RANKS + 1) / 100, 0.65 / RANKS
        slopes = np.broadcast_to((right - wrong) / RANKS, relevances.shape)
        chance = slopes * relevances + wrong / RANKS
        return source.random(relevances.shape) < chance, Known(slopes, wrong / RANKS)
    going_on = {"cascade": 0.0, "dcm": 0.6}[clicks]
    looking, examined = np.ones(len(relevances), dtype=bool), np.ones_like(relevances)
    clicked = np.zeros(relevances.shape, dtype=bool)
    for rank in range(len(RANKS)):
        clicked[:, rank] = looking & (source.random(len(looking)) < relevances[:, rank])
        looking &= ~clicked[:, rank] | (source.random(len(looking)) < going_on)
        if rank:
            above = 1 - relevances[:, rank - 1] * (1 - going_on)
            examined[:, rank] = examined[:, rank - 1] * above
    return clicked, Known(examined, zeros)


def a_log(
    cell: Cell, features: FloatArray, relevances: FloatArray, source: np.random.Generator
) -> tuple[ClickLog, Known]:
    policy = POLICIES[cell.policy]
    queries = source.integers(cell.queries, size=cell.sessions)
    scores = relevances + policy.error * features[:, :, 1]
    moved = policy.change * source.normal(size=(cell.sessions, DOCUMENTS))
    documents = np.argsort(-(scores[queries] + moved), axis=1)[:, : len(RANKS)]
    rows = np.flatnonzero(source.random(cell.sessions) < policy.swaps)
    upper = source.integers(len(RANKS) - 1, size=len(rows))
    above = documents[rows, upper]
    documents[rows, upper], documents[rows, upper + 1] = documents[rows, upper + 1], above
    clicked, known = drawn(
        cell.clicks, np.take_along_axis(relevances[queries], documents, axis=1), source
    )
    log = click_log(
        queries,
        documents,
        clicks=clicked,
        times=np.arange(cell.sessions),
        query_names=tuple(map(str, range(cell.queries))),
        document_names=tuple(map(str, range(DOCUMENTS))),
    )
    return log, known


def ndcg(relevances: FloatArray, scores: FloatArray) -> float:
    """Of (queries, documents); documents without a score (NaN) are not there, ties stand as they
    are numbered, which says nothing."""
    there = np.isfinite(scores)
    order = np.argsort(np.where(there, -scores, np.inf), axis=1, kind="stable")[:, : len(RANKS)]
    gains = np.where(there, relevances, 0.0)
    discounts = 1 / np.log2(1 + RANKS)
    found = np.take_along_axis(gains, order, axis=1) @ discounts
    ideal = -np.sort(-gains, axis=1)[:, : len(RANKS)] @ discounts
    return float((found[ideal > 0] / ideal[ideal > 0]).mean())


def of_labels(labels: Labels, relevances: FloatArray) -> float:
    scores = np.full(relevances.shape, np.nan)
    scores[labels.queries, labels.documents] = labels.relevances
    return ndcg(relevances, scores)


def learnt(features: FloatArray, targets: FloatArray, weights: FloatArray) -> FloatArray:
    """(features,) of least squares with an intercept, of rows."""
    rows = np.column_stack([features, np.ones(len(features))]) * np.sqrt(weights)[:, None]
    found = np.linalg.lstsq(rows, targets * np.sqrt(weights), rcond=None)[0]
    return np.asarray(found[:-1], dtype=np.float64)


def measure(cell: Cell, seed: int) -> Outcome:
    source = np.random.default_rng([seed, cell.sessions, cell.queries])
    features, relevances = features_and_relevances(cell.queries, source)
    test_features, test_relevances = features_and_relevances(TEST_QUERIES, source)
    log, known = a_log(cell, features, relevances, source)
    estimator = Auto(rules=RULES).choose(log).estimator
    none, auto = (label(log, one, RULES) for one in (plain(log), estimator.fit(log)))

    def learner(labels: Labels, targets: FloatArray, weights: FloatArray) -> float:
        found = learnt(features[labels.queries, labels.documents], targets, weights)
        return ndcg(test_relevances, test_features @ found)

    return Outcome(
        estimator.name,
        of_labels(none, relevances),
        of_labels(auto, relevances),
        of_labels(label(log, known, RULES), relevances),  # type: ignore[arg-type]
        learner(none, none.relevances, none.weights),
        learner(auto, auto.relevances, auto.weights),
        learner(none, relevances[none.queries, none.documents], np.ones(len(none.queries))),
    )


def plain(log: ClickLog) -> PositionModel:
    """Click-through rates."""
    ones, zeros = np.ones(log.ranks), np.zeros(log.ranks)
    nothing = Relevances(np.zeros(0, dtype=np.int64), zeros[:0], 0.5)
    return PositionModel("none", ones, zeros, nothing, ones > 0)


def summary(cell: Cell, outcomes: list[Outcome]) -> dict[str, object]:
    """Means over seeds, and what of the bar is missed."""
    rows = [asdict(one) for one in outcomes]
    means = {k: float(np.mean([row[k] for row in rows])) for k in rows[0] if k != "chosen"}
    labels = means["labels_auto"] - means["labels_none"]
    learner = means["learner_auto"] - means["learner_none"]
    gap = means["learner_full"] - means["learner_none"]
    share = learner / gap if gap >= LEAST_GAP else None
    asked = cell.policy.startswith("weak") and cell.sessions >= 20_000
    missed = ["below"] if min(labels, learner) < -TOLERANCE else []
    missed += ["share"] if asked and share is not None and share < SHARE else []
    return {
        **asdict(cell),
        **means,
        "labels_gain": labels,
        "learner_gain": learner,
        "share": share,
        "chosen": [row["chosen"] for row in rows],
        "missed": missed,
    }


def print_table(rows: list[dict[str, object]]) -> None:
    print(f"{'':36}{'labels':^33}{'learner':^40}")
    print(
        f"{'clicks':<8}{'policy':<12}{'sessions':>8}{'queries':>8}"
        f"{'none':>8}{'auto':>8}{'known':>8}{'gain':>9}"
        f"{'none':>8}{'auto':>8}{'full':>8}{'gain':>9}{'share':>7}  {'missed':<13}chosen"
    )
    for row in rows:
        share = f"{row['share']:7.2f}" if row["share"] is not None else f"{'':7}"
        print(
            f"{row['clicks']:<8}{row['policy']:<12}{row['sessions']:>8}{row['queries']:>8}"
            f"{row['labels_none']:8.3f}{row['labels_auto']:8.3f}{row['labels_known']:8.3f}"
            f"{row['labels_gain']:+9.3f}{row['learner_none']:8.3f}{row['learner_auto']:8.3f}"
            f"{row['learner_full']:8.3f}{row['learner_gain']:+9.3f}{share}  "
            f"{' '.join(row['missed']):<13}{' '.join(row['chosen'])}"  # type: ignore[arg-type]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cells = [Cell(c, p, *size) for c, p, size in itertools.product(CLICKS, POLICIES, SIZES)]
    tasks = [(cell, seed) for cell in cells for seed in range(arguments.seeds)]
    with ProcessPoolExecutor(arguments.processes) as processes:
        found = list(processes.map(measure, *zip(*tasks, strict=True)))
    rows = [
        summary(cell, found[place * arguments.seeds : (place + 1) * arguments.seeds])
        for place, cell in enumerate(cells)
    ]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    machine = read_machine()
    print(f"{machine.name}, {machine.threads} threads")
    print(f"search-sidecar {version('search-sidecar')}, numpy {version('numpy')}")
    print_table(rows)
    missed = [row for row in rows if row["missed"]]
    print(f"\n{len(rows)} cells, {arguments.seeds} seeds each; {len(missed)} miss the bar")


if __name__ == "__main__":
    main()
