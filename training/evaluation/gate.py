"""The gate: may a candidate take the place of the model in production?

    Evidence (values per query of both, latency, parity) + Rules -> `judge` -> Verdict

A candidate is accepted if every check passes: it is better on the primary measure at p < alpha, no
guarded slice is worse than its tolerance, it is fast enough, and what was exported scores as what
was trained. Where it is measured together with another new model, it has to be better than that
alone, too: a gain of the other one is none of its own. What was not measured has not passed. The
verdict gives its reasons in words, as JSON, and as the exit code: 0 accepted, 10 refused, 2 where
the evidence or the rules cannot be read.

    python -m training.evaluation.gate evidence.json --rules rules.toml --out verdict.json
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sidecar.errors import SidecarError
from training.evaluation.evidence import Both, Evidence, read_evidence
from training.evaluation.rules import Rules, read_rules
from training.evaluation.significance import (
    Comparison,
    Floats,
    bootstrap_interval,
    compare,
    paired_differences,
    queries_needed,
)
from training.evaluation.verdict import Check, Verdict

UNREADABLE = 2
_ABOUT = "Accept a candidate (exit code 0), or refuse it (10) and say why."
_SAMPLE_POWER = "four times of five"


def judge(evidence: Evidence, rules: Rules) -> Verdict:
    """All checks that the rules ask for. Damaged evidence is a refusal, not an error."""
    values = _check_values(evidence)
    checks = [values]
    if values.passed:
        checks.append(_check_primary(evidence, rules))
        checks += _check_beside(evidence, rules)
        checks += [_check_guard(evidence, rules, name) for name in rules.guards]
    checks += _check_latency(evidence, rules)
    checks += _check_parity(evidence, rules)
    return Verdict(tuple(checks))


def _check_values(evidence: Evidence) -> Check:
    """Both models have a finite value for the same queries."""
    production, candidate = evidence.production, evidence.candidate
    fault = ""
    if not production:
        fault = "no query was measured"
    elif missing := sorted(production.keys() ^ candidate.keys()):
        fault = (
            f"{len(missing)} queries have a value of one model only, the first is {missing[0]!r}"
        )
    if evidence.failed and not fault:
        fault = f"the candidate failed on {evidence.failed} queries"
    for name, values in (("production", production), ("candidate", candidate)):
        broken = [query_id for query_id, value in values.items() if not math.isfinite(value)]
        if broken and not fault:
            fault = f"{len(broken)} values of {name} are not finite, the first is of {broken[0]!r}"
    count = len(production)
    return Check("values", not fault, fault or f"both models were measured on {count} queries")


def _check_beside(evidence: Evidence, rules: Rules) -> list[Check]:
    """Better than the run's other new model without it."""
    if evidence.beside is None:
        return []
    alone = dataclasses.replace(evidence, production=evidence.beside)
    values = _check_values(alone)
    if not values.passed:
        return [dataclasses.replace(values, name="beside")]
    check = _check_primary(alone, rules)
    told = f"beside the run's other new model: {check.reason}"
    return [dataclasses.replace(check, name="beside", reason=told)]


def _check_primary(evidence: Evidence, rules: Rules) -> Check:
    made = compare(evidence.production, evidence.candidate, draws=rules.draws, seed=rules.seed)
    passed = made.difference > rules.least_gain and made.p < rules.alpha
    told = (
        f"{evidence.measure} {made.production:.4f} -> {made.candidate:.4f} "
        f"({made.difference:+z.4f}, p = {made.p:.2g}, {made.queries} queries)"
    )
    if not passed:
        told += ": " + _why_not_better(evidence, made, rules)
    return Check("primary", passed, told, dataclasses.asdict(made))


def _why_not_better(evidence: Evidence, made: Comparison, rules: Rules) -> str:
    if made.difference <= 0:
        return "it is not better"
    if made.difference <= rules.least_gain:
        return f"a gain of more than {rules.least_gain:g} is asked for"
    each = paired_differences(evidence.production, evidence.candidate)
    needed = queries_needed(each, made.difference, rules.alpha) if made.queries > 1 else 2
    return (
        f"p is not below {rules.alpha:g}; these queries show {made.detectable:.4f} or more "
        f"{_SAMPLE_POWER}, a gain of this size takes about {needed}"
    )


def _check_guard(evidence: Evidence, rules: Rules, name: str) -> Check:
    """The lower bound of the slice's mean difference is not below -tolerance."""
    title, both = f"slice {name}", _guarded(evidence, name)
    missing = sorted(both.production.keys() ^ both.candidate.keys())
    if missing:
        return Check(title, False, f"{title}: query {missing[0]!r} was not measured")
    if len(both.production) < rules.least_guarded_queries:
        told = f"{title}: {len(both.production)} queries, {rules.least_guarded_queries} are needed"
        return Check(title, False, f"{told} to guard it: judge more, or guard a larger slice")
    each = paired_differences(both.production, both.candidate)
    if not np.isfinite(each).all():
        return Check(title, False, f"{title}: a value is not finite")
    return _within_tolerance(title, both.measure, each, rules.guards[name], rules)


def _guarded(evidence: Evidence, name: str) -> Both:
    """The values of a slice, or of another measure. A query that was not measured has none of
    production."""
    if name in evidence.also:
        return evidence.also[name]
    query_ids = list(dict.fromkeys(evidence.slices.get(name, ())))
    return Both(
        evidence.measure,
        {key: evidence.production[key] for key in query_ids if key in evidence.production},
        {key: evidence.candidate.get(key, math.nan) for key in query_ids},
    )


def _within_tolerance(
    title: str, measure: str, each: Floats, tolerance: float, rules: Rules
) -> Check:
    """`each`: (queries,), finite differences."""
    low = bootstrap_interval(each, 2 * rules.guard_confidence - 1, rules.draws, rules.seed)[0]
    mean = float(each.mean())
    bounds = f"at least {low:+z.4f} (-{tolerance:g} is allowed)"
    told = f"{title}: {measure} {mean:+z.4f}, {bounds}"
    if low < -tolerance <= mean:
        needed = queries_needed(each, mean + tolerance) if mean + tolerance > 0 else 0
        told += f": not shown with {len(each)} queries" + (f", about {needed} are" * bool(needed))
    figures = {"queries": len(each), "difference": mean, "low": low, "tolerance": tolerance}
    return Check(title, low >= -tolerance, told, figures)


def _check_latency(evidence: Evidence, rules: Rules) -> list[Check]:
    if rules.latency_ratio is None and rules.latency_milliseconds is None:
        return []
    measured = evidence.latency
    if measured is None:
        return [Check("latency", False, "latency was not measured")]
    ratio = rules.latency_ratio
    budgets = [] if ratio is None else [measured.production_milliseconds * ratio]
    budgets += [] if rules.latency_milliseconds is None else [rules.latency_milliseconds]
    budget, taken = min(budgets), measured.candidate_milliseconds
    told = (
        f"p99 {measured.production_milliseconds:.1f} -> {taken:.1f} ms, {budget:.1f} ms are allowed"
    )
    figures = {**dataclasses.asdict(measured), "budget_milliseconds": budget}
    return [Check("latency", bool(0 < taken <= budget), told, figures)]


def _check_parity(evidence: Evidence, rules: Rules) -> list[Check]:
    if rules.rank_correlation is None and rules.measure_difference is None:
        return []
    measured = evidence.parity
    if measured is None or not measured.pairs:
        return [Check("parity", False, "the exported model was not compared with the trained one")]
    least = -1.0 if rules.rank_correlation is None else rules.rank_correlation
    most = math.inf if rules.measure_difference is None else rules.measure_difference
    passed = measured.rank_correlation >= least and abs(measured.measure_difference) <= most
    told = (
        f"exported against trained over {measured.pairs} pairs: rank correlation "
        f"{measured.rank_correlation:.4f} (at least {least:g}), {evidence.measure} "
        f"{measured.measure_difference:+z.4f} (at most {most:g})"
    )
    return [Check("parity", passed, told, dataclasses.asdict(measured))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the evidence of a file; prints the verdict and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluation.gate", description=_ABOUT)
    parser.add_argument("evidence", type=Path, help="JSON: what was measured of both models")
    parser.add_argument("--rules", type=Path, help="TOML: what is asked of a candidate")
    parser.add_argument("--out", type=Path, help="where the verdict is written as well")
    given = parser.parse_args(arguments)
    try:
        rules = read_rules(given.rules) if given.rules else Rules()
        verdict = judge(read_evidence(given.evidence), rules)
    except SidecarError as error:
        print(error.message, file=sys.stderr)
        return UNREADABLE
    print(verdict.to_json())
    if given.out:
        given.out.write_text(verdict.to_json() + "\n", encoding="utf-8")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
