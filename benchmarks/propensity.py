"""Click models on real clicks: held-out perplexity by rank, and what the log says of examination.

    python benchmarks/propensity.py FOLDER [--json]

FOLDER holds train.jsonl and test.jsonl, a result page a line: {"query_id", "region_id", "shown",
"clicked"}. Each model is fitted on the train pages; perplexity is 2 to the mean of the bits that a
click or its absence on the test pages costs, 1 at best (Dupret, Piwowarski, SIGIR 2008): first of a
page's clicks before any is known, then of each given those above it. `ctr` knows the click rate of
a rank and nothing of documents. `nats` is the log-likelihood of a page's clicks in order.
Propensities are those of the train pages with 95 % intervals; a rank is in brackets if the log does
not identify it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.models.machine import read_machine
from training.clicks.log import ClickLog, FloatArray, click_log
from training.labels.estimator_choice import Auto
from training.propensity.estimators import LEARNT
from training.propensity.perplexity import Perplexity, perplexity
from training.propensity.report import Identifiability, identifiability


@dataclass(frozen=True)
class RankRates:
    """The click rate of each rank, whatever is shown."""

    rates: FloatArray  # (ranks,)
    name: str = "ctr"

    @property
    def propensities(self) -> FloatArray:
        return self.rates / self.rates[0]

    def examinations(self, log: ClickLog) -> FloatArray:
        return np.where(log.shown, self.propensities, 0.0)

    def clicks_for_rank(self, log: ClickLog) -> FloatArray:
        return np.zeros(log.documents.shape)

    def click_probabilities(self, log: ClickLog) -> FloatArray:
        return np.where(log.shown, self.rates, 0.0)

    def conditional_click_probabilities(self, log: ClickLog) -> FloatArray:
        return self.click_probabilities(log)


def read_pages(folder: Path) -> tuple[ClickLog, ClickLog]:
    """Train and test pages as parts of one log."""
    queries: dict[tuple[str, str], int] = {}
    documents: dict[str, int] = {}
    rows: list[tuple[int, list[int], list[int], bool]] = []
    for name in ("train", "test"):
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            page = json.loads(line)
            query = queries.setdefault((page["query_id"], page["region_id"]), len(queries))
            shown = [documents.setdefault(one, len(documents)) for one in page["shown"]]
            rows.append((query, shown, page["clicked"], name == "test"))
    log = click_log(
        np.array([query for query, *_ in rows]),
        np.array([shown for _, shown, _, _ in rows]),
        clicks=np.array([clicked for _, _, clicked, _ in rows]),
    )
    held = np.array([test for *_, test in rows])
    return log.select(~held), log.select(held)


def measure(train: ClickLog, test: ClickLog) -> list[Perplexity]:
    """Of all models on the test pages."""
    models = [RankRates(train.clicks.mean(axis=0)), *(one.fit(train) for one in LEARNT.values())]
    return [perplexity(model, test) for model in models]


def reports(train: ClickLog) -> list[Identifiability]:
    """Of the estimators that learn propensities."""
    return [identifiability(one, train) for name, one in LEARNT.items() if name != "none"]


def to_json(rows: list[Perplexity], told: list[Identifiability]) -> dict[str, Any]:
    return {
        "models": [
            {
                "model": one.name,
                "perplexity": one.by_rank.round(4).tolist(),
                "mean": round(one.mean, 4),
                "conditional_perplexity": one.conditional_by_rank.round(4).tolist(),
                "conditional_mean": round(one.conditional_mean, 4),
                "log_likelihood": round(one.log_likelihood, 4),
            }
            for one in rows
        ],
        "propensities": [
            {
                "estimator": one.estimator,
                "propensities": one.propensities.round(4).tolist(),
                "lower": one.lower.round(4).tolist(),
                "upper": one.upper.round(4).tolist(),
                "identified": one.identified.tolist(),
            }
            for one in told
        ],
    }


def print_tables(rows: list[Perplexity], told: list[Identifiability]) -> None:
    ranks = len(rows[0].by_rank)
    head = "".join(f"{rank:>8}" for rank in range(1, ranks + 1))
    for title, conditional in (("perplexity", False), ("given the clicks above", True)):
        print(f"\n{title:<24}\n{'model':<9}{head}{'mean':>9}{'nats':>9}")
        for one in rows:
            values = one.conditional_by_rank if conditional else one.by_rank
            mean = one.conditional_mean if conditional else one.mean
            cells = "".join(f"{value:8.4f}" for value in values)
            print(f"{one.name:<9}{cells}{mean:9.4f}{one.log_likelihood:9.4f}")
    print(f"\npropensities of the train pages, +- half of the 95 % interval\n{'model':<9}{head}")
    for report in told:
        halves = (report.upper - report.lower) / 2
        known = report.identified
        print(f"{report.estimator:<9}{''.join(map(_cell, report.propensities, known))}")
        print(f"{'':<9}{''.join(f'{half:8.3f}' for half in halves)}")


def _cell(value: float, known: bool) -> str:
    text = f"{value:.3f}" if known else f"({value:.3f})"
    return f"{text:>8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    train, test = read_pages(arguments.folder)
    rows, told = measure(train, test), reports(train)
    choice = Auto().choose(train)
    if arguments.json:
        print(json.dumps({**to_json(rows, told), "auto": choice.estimator.name}, indent=1))
        return
    machine = read_machine()
    print(f"{machine.name}, {machine.threads} threads")
    print(f"search-sidecar {version('search-sidecar')}, numpy {version('numpy')}")
    print(f"{train.impressions} train pages, {test.impressions} test pages")
    print_tables(rows, told)
    print("\nauto, on the train pages:", *choice.lines(), sep="\n")


if __name__ == "__main__":
    main()
