"""Estimates how likely each rank was looked at, and says whether the log can tell.

Leaves choice.json, and where there is a log propensities.json (which the estimator "file" reads),
identifiability.json and perplexity.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.clicks.log import ClickLog
from training.clicks.store import read_clicks
from training.config import TrainingConfig
from training.examples.places import there
from training.labels.estimator_choice import Auto
from training.propensity.base import Estimator
from training.propensity.estimators import LEARNT, estimator_named
from training.propensity.from_file import write_propensities
from training.propensity.harvest import InterventionHarvest
from training.propensity.perplexity import Perplexity, perplexity
from training.propensity.report import Identifiability, identifiability
from training.propensity.to_json import of_identifiability, of_perplexity
from training.run_files import (
    CHOICE_FILE,
    CLICKS_FILE,
    IDENTIFIABILITY_FILE,
    PERPLEXITY_FILE,
    PROPENSITIES_FILE,
    write_json,
)
from training.stage import Stage, Work

HELD_OUT = 0.2  # of the sessions, the last ones
# Estimates are of ratios that some hundred thousand impressions tell to three digits.
MOST_IMPRESSIONS = 300_000


def run(work: Work) -> Mapping[str, Any]:
    """Figures: the estimator, how many ranks it knows, its perplexity on held-out sessions."""
    log = _read(work)
    if log is None or not log.clicks.any():
        why = "there is no log" if log is None else "nothing in the log was clicked"
        write_json(work.out / CHOICE_FILE, {"estimator": "none", "candidates": [], "why": [why]})
        return {"estimator": "none", "identified_ranks": None, "perplexity": None}
    estimator = _choose(work, log)
    found, others = _examine(work, log, estimator)
    write_json(
        work.out / IDENTIFIABILITY_FILE,
        of_identifiability(found) | {"others": [of_identifiability(one) for one in others]},
    )
    foretold = _perplexities(work, log, estimator)
    write_json(
        work.out / PERPLEXITY_FILE, {name: of_perplexity(one) for name, one in foretold.items()}
    )
    write_propensities(work.out / PROPENSITIES_FILE, estimator.fit(log))
    return {
        "estimator": estimator.name,
        "identified_ranks": int(found.identified.sum()),
        "perplexity": round(foretold[estimator.name].mean, 4),
    }


def _read(work: Work) -> ClickLog | None:
    """About MOST_IMPRESSIONS of a log that has more, whole sessions; None: there is none."""
    path = work.input("collect") / CLICKS_FILE
    if not path.exists():
        return None
    log = read_clicks(path)
    if log.impressions <= MOST_IMPRESSIONS:
        return log
    return log.split(MOST_IMPRESSIONS / log.impressions, work.config.seed)[1]


def _choose(work: Work, log: ClickLog) -> Estimator:
    """The configured estimator, or what `auto` finds best; written with the reasons."""
    config = work.config.propensity
    if config.estimator != "auto":
        asked = estimator_named(config.estimator, Path(config.file) if config.file else None)
        why = [f"asked for: propensity.estimator is {config.estimator}"]
        write_json(work.out / CHOICE_FILE, {"estimator": asked.name, "candidates": [], "why": why})
        return asked
    work.progress.live("comparing estimators on sessions that they have not seen")
    choice = Auto().choose(log)
    for line in choice.lines():
        work.progress.say(line)
    write_json(work.out / CHOICE_FILE, choice.to_json())
    return choice.estimator


def _examine(
    work: Work, log: ClickLog, chosen: Estimator
) -> tuple[Identifiability, list[Identifiability]]:
    """Whether the log can tell what the chosen estimator says of it; where nothing is estimated,
    whether it could tell what the simplest one would say, too."""
    found = []
    for estimator in (chosen, *((InterventionHarvest(),) if chosen.name == "none" else ())):
        work.progress.live(f"looking whether the log can tell what {estimator.name} says of it")
        found.append(identifiability(estimator, log, seed=work.config.seed))
    for line in found[-1].lines():
        work.progress.say(line)
    return found[0], found[1:]


def _perplexities(work: Work, log: ClickLog, chosen: Estimator) -> dict[str, Perplexity]:
    """Of every estimator, learnt from the earlier sessions, on the last ones."""
    earlier, later = log.split_by_time(HELD_OUT)
    found = {}
    for name, estimator in ({chosen.name: chosen} | LEARNT).items():
        work.progress.live(f"foretelling held-out clicks with {name}")
        found[name] = perplexity(estimator.fit(earlier), later)
    return found


def _reads(config: TrainingConfig, model: str) -> tuple[Path, ...]:
    return there(config.propensity.file)


STAGE = Stage(
    "propensity",
    "estimates how likely each rank was looked at",
    run,
    sections=("propensity",),
    needs=("collect",),
    reads=_reads,
)
