"""The gate as a stage: what its section asks for, and evidence of two new models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sidecar.errors import ConfigurationError
from training.config import GateConfig, TrainingConfig
from training.evaluation.evidence import (
    Both,
    Evidence,
    Latency,
    Parity,
    read_evidence,
    write_evidence,
)
from training.evaluation.gate import judge
from training.evaluation.rules import Rules
from training.stages import gate
from training.stages.gate import rules_of

from .evaluated import work_of

NAMES = [f"q{number}" for number in range(200)]
NOISE = np.random.default_rng(0).normal(0, 0.1, 200)


def values(mean: float) -> dict[str, float]:
    return dict(zip(NAMES, (mean + NOISE).tolist(), strict=True))


def varied(by_query: dict[str, float], gain: float, seed: int = 1) -> dict[str, float]:
    """Higher by about `gain`, differently for each query."""
    noise = np.random.default_rng(seed).normal(0, 0.05, len(by_query))
    noise -= noise.mean()
    return {name: value + gain + noise[n] for n, (name, value) in enumerate(by_query.items())}


PRODUCTION = values(0.5)
GOOD = Evidence(
    measure="nDCG@10",
    production=PRODUCTION,
    candidate=varied(PRODUCTION, 0.03),
    slices={"head": NAMES[:100], "a:b": NAMES[100:]},
    latency=Latency(20.0, 20.0),
    parity=Parity(200, 0.999, 0.0),
)


def judged(tmp_path: Path, evidence: Evidence, config: GateConfig) -> tuple[dict, dict]:
    evaluated = tmp_path / "evaluated"
    evaluated.mkdir(exist_ok=True)
    write_evidence(evidence, evaluated / "evidence.json")
    whole = dataclasses.replace(TrainingConfig(), gate=config)
    work = work_of(tmp_path, whole, "reranker", {"reranker/evaluate": evaluated}, "gate")
    figures = dict(gate.run(work))
    return figures, json.loads((work.out / "verdict.json").read_text())


def test_a_good_candidate_is_accepted_and_a_slow_one_refused(tmp_path: Path) -> None:
    figures, verdict = judged(tmp_path, GOOD, GateConfig(guards=("head:0.01", "a:b:0.02")))
    assert figures["verdict"] == verdict["verdict"] == "accepted"
    assert [check["name"] for check in verdict["checks"]] == [
        "values",
        "primary",
        "slice head",
        "slice a:b",
        "latency",
        "parity",
    ]
    slow = dataclasses.replace(GOOD, latency=Latency(20.0, 30.0))
    figures, verdict = judged(tmp_path, slow, GateConfig())
    assert figures["verdict"] == "refused"
    assert "22.0 ms are allowed" in figures["reason"]
    assert verdict["exit_code"] == 10
    assert judged(tmp_path, slow, GateConfig(latency_ratio=-1))[0]["verdict"] == "accepted"


def test_minus_one_switches_a_check_off() -> None:
    config = GateConfig(latency_ratio=-1, rank_correlation=-1, measure_difference=-1)
    rules = rules_of(config, 3)
    assert rules.latency_ratio is rules.latency_milliseconds is None
    assert rules.rank_correlation is rules.measure_difference is None
    assert rules.seed == 3
    bare = dataclasses.replace(GOOD, latency=None, parity=None)
    assert judge(bare, rules).accepted
    assert rules_of(GateConfig(latency_milliseconds=25.0), 0).latency_milliseconds == 25.0


@pytest.mark.parametrize("spelt", ["head", "head:", ":0.1", "head:much", "head:-0.1", "head:1"])
def test_a_guard_that_cannot_be_meant_is_refused(spelt: str) -> None:
    with pytest.raises(ConfigurationError, match=r"as in head:0\.01"):
        rules_of(GateConfig(guards=(spelt,)), 0)


def test_a_gain_of_the_other_new_model_is_no_gain_of_this_one() -> None:
    """Production is 0.5, the new bi-encoder alone brings 0.55, and so does the candidate."""
    beside = varied(PRODUCTION, 0.05, seed=2)
    same = dataclasses.replace(GOOD, candidate=varied(beside, 0.0, seed=3), beside=beside)
    assert judge(dataclasses.replace(same, beside=None), Rules()).accepted
    verdict = judge(same, Rules())
    assert not verdict.accepted
    assert verdict.reason.startswith("beside the run's other new model: nDCG@10 0.55")
    better = dataclasses.replace(same, candidate=varied(beside, 0.03, seed=3))
    assert judge(better, Rules()).accepted
    broken = dataclasses.replace(better, beside={"q0": 0.1})
    assert "one model only" in judge(broken, Rules()).reason


def test_another_measure_can_be_guarded() -> None:
    before = values(0.8)
    worse = dataclasses.replace(GOOD, also={"last": Both("nDCG@10", before, varied(before, -0.04))})
    assert judge(worse, Rules()).accepted
    verdict = judge(worse, Rules(guards={"last": 0.01}))
    assert "slice last: nDCG@10 -0.0400" in verdict.reason
    held = dataclasses.replace(GOOD, also={"last": Both("R@100", before, dict(before))})
    assert judge(held, Rules(guards={"last": 0.01})).accepted
    torn = dataclasses.replace(GOOD, also={"last": Both("R@100", before, {"q0": 0.1})})
    assert "was not measured" in judge(torn, Rules(guards={"last": 0.01})).reason
    broken = {**before, "q7": float("nan")}
    lost = dataclasses.replace(GOOD, also={"last": Both("R@100", before, broken)})
    assert "not finite" in judge(lost, Rules(guards={"last": 0.01})).reason


def test_a_candidate_that_failed_on_queries_is_refused() -> None:
    verdict = judge(dataclasses.replace(GOOD, failed=3), Rules())
    assert not verdict.accepted
    assert "the candidate failed on 3 queries" in verdict.reason


def test_evidence_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = dataclasses.replace(
        GOOD, also={"last": Both("nDCG@10", {"q": 0.5}, {"q": 0.25})}, beside={"q": 1.0}
    )
    write_evidence(made, tmp_path / "evidence.json")
    assert read_evidence(tmp_path / "evidence.json") == made
