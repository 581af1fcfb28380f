"""The gate over simulated models: equals, better ones, and models that are damaged."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from training.evaluation.evidence import Evidence, Latency, Parity, parity_of
from training.evaluation.gate import UNREADABLE, judge, main
from training.evaluation.rules import Rules
from training.evaluation.verdict import ACCEPTED, REFUSED
from training.measures import JudgedRankings, measure_rankings, parse_measure

QUERIES, CANDIDATES = 150, 20
GRADES = np.random.default_rng(0).choice([0, 1, 2], (QUERIES, CANDIDATES), p=[0.8, 0.15, 0.05])
NAMES = [f"q{number}" for number in range(QUERIES)]
SLICES = {"head": NAMES[:50], "tail": NAMES[50:]}
GUARDED = Rules(guards={"head": 0.05, "tail": 0.05}, draws=1000)
QUICK = Rules(draws=1000)
SAME_SPEED, SAME_SCORES = Latency(20.0, 20.5), Parity(200, 0.9999, 0.0001)


def scores_of_a_model(seed, signal=1.0, noise=1.0):
    """A model knows the grades, has errors in common with others of its kind and its own."""
    shared = np.random.default_rng(99).normal(0, 1, GRADES.shape)
    own = np.random.default_rng(seed).normal(0, 1, GRADES.shape)
    return signal * GRADES + noise * (shared + 0.5 * own)


def values_of(scores):
    """Query id -> nDCG@10; the places of the candidates break ties."""
    order = np.argsort(-scores, axis=1, kind="stable")
    found = np.take_along_axis(GRADES, order, axis=1).astype(float)
    rankings = JudgedRankings(tuple(NAMES), found, -np.sort(-GRADES, axis=1).astype(float))
    values = measure_rankings(parse_measure("nDCG@10"), rankings)
    return dict(zip(NAMES, values.tolist(), strict=True))


def evidence(production, candidate, **parts):
    made = Evidence("nDCG@10", values_of(production), values_of(candidate), SLICES)
    return dataclasses.replace(made, **({"latency": SAME_SPEED, "parity": SAME_SCORES} | parts))


def test_a_reseeded_equal_is_accepted_at_most_once_in_twenty():
    accepted = sum(
        judge(
            evidence(scores_of_a_model(2 * seed + 1), scores_of_a_model(2 * seed + 2)),
            dataclasses.replace(QUICK, seed=seed),
        ).accepted
        for seed in range(200)
    )
    assert accepted <= 10


def test_a_better_model_is_accepted():
    accepted = sum(
        judge(
            evidence(scores_of_a_model(2 * seed + 1), scores_of_a_model(2 * seed + 2, 2.0)), GUARDED
        ).accepted
        for seed in range(20)
    )
    assert accepted == 20


DAMAGES = {
    "reversed": lambda scores, rng: -scores,
    "shuffled": lambda scores, rng: rng.permuted(scores, axis=1),
    "all alike": lambda scores, rng: np.zeros_like(scores),
    "noisy": lambda scores, rng: scores + rng.normal(0, 3, scores.shape),
    "one slice": lambda scores, rng: np.where(
        np.arange(QUERIES)[:, None] < 50, rng.permuted(scores, axis=1), scores
    ),
    "a third of the scores lost": lambda scores, rng: np.where(
        rng.random(scores.shape) < 0.33, rng.normal(0, 3, scores.shape), scores
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_always_refused(damage):
    """Also one that was better before, where a guard sees the damage."""
    signal = 2.0 if damage == "one slice" else 1.0
    for seed in range(20):
        broken = DAMAGES[damage](
            scores_of_a_model(2 * seed + 2, signal), np.random.default_rng(seed)
        )
        verdict = judge(evidence(scores_of_a_model(2 * seed + 1), broken), GUARDED)
        assert verdict.exit_code == REFUSED


def better(**parts):
    return evidence(scores_of_a_model(1), scores_of_a_model(2, 2.0), **parts)


def replaced(made, **values):
    return dataclasses.replace(made, candidate={**made.candidate, **values})


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (replaced(better(), q3=math.nan), "1 values of candidate are not finite.*'q3'"),
        (replaced(better(), other=0.5), "one model only, the first is 'other'"),
        (dataclasses.replace(better(), production={}, candidate={}), "no query was measured"),
        (better(latency=Latency(20.0, 22.1)), r"p99 20.0 -> 22.1 ms, 22.0 ms are allowed"),
        (better(latency=Latency(20.0, math.nan)), "p99"),
        (better(latency=None), "latency was not measured"),
        (better(parity=Parity(200, 0.99, 0.0)), "rank correlation 0.9900"),
        (better(parity=Parity(200, 1.0, -0.006)), r"nDCG@10 -0.0060 \(at most 0.005\)"),
        (better(parity=Parity(200, math.nan, 0.0)), "rank correlation nan"),
        (better(parity=Parity(200, 1.0, math.nan)), "nDCG@10"),
        (better(parity=None), "not compared with the trained one"),
    ],
)
def test_whatever_is_missing_or_broken_refuses_with_its_reason(made, reason):
    assert judge(better(), GUARDED).accepted
    verdict = judge(made, GUARDED)
    assert not verdict.accepted
    with pytest.raises(ValueError, match=reason):
        raise ValueError(verdict.reason)
    assert json.loads(verdict.to_json())["exit_code"] == REFUSED


def shifted(gain, spread):
    """150 queries that gain `gain`, half of them `spread` more and half of them less."""
    production = dict.fromkeys(NAMES, 0.5)
    candidate = {name: 0.5 + gain + spread * (-1) ** n for n, name in enumerate(NAMES)}
    slices = {"few": NAMES[:26]}
    return Evidence("nDCG@10", production, candidate, slices, SAME_SPEED, SAME_SCORES)


def test_a_guard_that_cannot_tell_says_how_many_queries_would():
    made = dataclasses.replace(better(), slices={"rare": NAMES[:10], "few": NAMES[:26]})
    rare = judge(made, Rules(guards={"rare": 0.05}))
    assert "slice rare: 10 queries, 50 are needed" in rare.reason
    unknown = judge(made, Rules(guards={"absent": 0.05}))
    assert "slice absent: 0 queries" in unknown.reason
    unsure = judge(shifted(0.0, 0.2), Rules(guards={"few": 0.005}, least_guarded_queries=20))
    assert "slice few: nDCG@10 +0.0000, at least -0.0" in unsure.reason
    assert "(-0.005 is allowed): not shown with 26 queries, about" in unsure.reason
    worse = judge(shifted(-0.2, 0.1), Rules(guards={"few": 0.005}, least_guarded_queries=20))
    assert "slice few: nDCG@10 -0.2000" in worse.reason
    assert "not shown" not in worse.reason


def test_a_small_gain_is_told_from_none():
    made = better()
    bare = Rules(latency_ratio=None, rank_correlation=None, measure_difference=None, least_gain=0.5)
    assert "a gain of more than 0.5 is asked for" in judge(made, bare).reason
    turned = dataclasses.replace(made, production=made.candidate, candidate=made.production)
    assert "it is not better" in judge(turned, bare).reason
    unsure = judge(shifted(0.01, 0.2), QUICK).reason
    assert "p is not below 0.05; these queries show 0.045" in unsure
    assert "a gain of this size takes about 3" in unsure


def test_parity_is_spearmans_correlation():
    rng = np.random.default_rng(1)
    trained = np.round(rng.normal(0, 1, 300), 1)
    served = np.round(trained + rng.normal(0, 0.3, 300), 1)
    ranks = [
        np.array([np.mean(np.flatnonzero(np.sort(each) == one)) for one in each])
        for each in (trained, served)
    ]
    expected = np.corrcoef(*ranks)[0, 1]
    assert parity_of(trained, served, 0.0).rank_correlation == pytest.approx(expected, abs=1e-12)
    assert parity_of(trained, np.exp(trained), 0.0).rank_correlation == pytest.approx(1.0)
    assert math.isnan(parity_of([1.0, 2.0], [math.nan, 1.0], 0.0).rank_correlation)
    assert math.isnan(parity_of([1.0, 2.0], [3.0, 3.0], 0.0).rank_correlation)
    with pytest.raises(ValueError, match="2 pairs were scored in training, 1 were served"):
        parity_of([1.0, 2.0], [1.0], 0.0)


def written(tmp_path, made):
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps(dataclasses.asdict(made)))
    return str(path)


def test_the_command_says_it_by_its_exit_code(tmp_path, capsys):
    rules = tmp_path / "rules.toml"
    rules.write_text("draws = 1000\n[guards]\nhead = 0.05\n")
    out = tmp_path / "verdict.json"
    made = [written(tmp_path, better()), "--rules", str(rules), "--out", str(out)]
    assert main(made) == ACCEPTED
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())
    assert json.loads(out.read_text())["verdict"] == "accepted"
    slow = written(tmp_path, better(latency=Latency(20.0, 40.0)))
    assert main([slow, "--rules", str(rules)]) == REFUSED
    assert main([written(tmp_path, replaced(better(), q3=math.nan))]) == REFUSED


@pytest.mark.parametrize(
    ("text", "rules", "message"),
    [
        ("{", "", "evidence.json, line 1"),
        ("[]", "", "no JSON object"),
        ('{"measure": "nDCG@10"}', "", "no evidence for the gate"),
        ('{"measure": "n", "production": {"q": "x"}, "candidate": {}}', "", "'q' is no number"),
        (
            '{"measure": "n", "production": {}, "candidate": {}, "parity": {"pairs": "many", '
            '"rank_correlation": 1, "measure_difference": 0}}',
            "",
            "'pairs' is no number: 'many'",
        ),
        ("{}", "alfa = 0.05", "'alfa' is no rule of the gate"),
        ("{}", "alpha =", "rules.toml"),
        ("{}", "alpha = 5", "alpha must be between 0 and 1"),
        ("{}", "alpha = nan", "alpha must be a number of 0 or more"),
        ("{}", "guard_confidence = 0.4", "guard_confidence must be between 0.5 and 1"),
        ("{}", "guards = 0.1", "guards is a table"),
        ("{}", "[guards]\nhead = '5 %'", "guards.head must be a number"),
        ("{}", "draws = 0", "draws must be 1 or more"),
        ("{}", "seed = 0.5", "seed must be a whole number"),
    ],
)
def test_what_cannot_be_read_is_no_verdict(tmp_path, capsys, text, rules, message):
    (tmp_path / "evidence.json").write_text(text)
    (tmp_path / "rules.toml").write_text(rules)
    given = [str(tmp_path / "evidence.json"), "--rules", str(tmp_path / "rules.toml")]
    assert main(given) == UNREADABLE
    assert message in capsys.readouterr().err
