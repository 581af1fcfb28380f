"""May the candidate take the place of the model in production? The evidence, the rules, a verdict.

evaluate's evidence.json -> `judge` under the section [gate] -> verdict.json. A refusal is no error:
the run goes on, nothing is published, and the command line ends with exit code 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.errors import ConfigurationError
from training.config import GateConfig
from training.evaluation.evidence import read_evidence
from training.evaluation.gate import judge
from training.evaluation.rules import Rules
from training.run_files import EVIDENCE_FILE, VERDICT_FILE
from training.stage import Stage, Work

OFF = -1.0


def run(work: Work) -> Mapping[str, Any]:
    """Figures: {"verdict": "accepted" or "refused", "reason": ...}."""
    rules = rules_of(work.config.gate, work.config.seed)
    verdict = judge(read_evidence(work.input("evaluate") / EVIDENCE_FILE), rules)
    (work.out / VERDICT_FILE).write_text(verdict.to_json() + "\n", encoding="utf-8")
    for check in verdict.checks:
        work.progress.say(f"{'passed' if check.passed else 'REFUSED'}: {check.reason}")
    return {"verdict": "accepted" if verdict.accepted else "refused", "reason": verdict.reason}


def rules_of(config: GateConfig, seed: int) -> Rules:
    """The section as rules. Raises ConfigurationError for what cannot be meant."""
    return Rules(
        alpha=config.alpha,
        least_gain=config.least_gain,
        guards=dict(_to_guard(each) for each in config.guards),
        least_guarded_queries=config.least_guarded_queries,
        latency_ratio=_unless_off(config.latency_ratio),
        latency_milliseconds=_unless_off(config.latency_milliseconds),
        rank_correlation=_unless_off(config.rank_correlation),
        measure_difference=_unless_off(config.measure_difference),
        seed=seed,
    )


def _to_guard(spelt: str) -> tuple[str, float]:
    """ "head:0.01" -> ("head", 0.01)."""
    name, _, tolerance = spelt.rpartition(":")
    try:
        allowed = float(tolerance)
    except ValueError:
        allowed = -1.0
    if not name or not 0 <= allowed < 1:
        raise ConfigurationError(
            f"gate.guards: {spelt!r}: write a slice and how much it may lose, as in head:0.01"
        )
    return name, allowed


def _unless_off(value: float) -> float | None:
    return None if value == OFF else value


STAGE = Stage(
    "gate",
    "says whether the candidate may be published, or why not",
    run,
    sections=("gate",),
    needs=("evaluate", "export"),
)
