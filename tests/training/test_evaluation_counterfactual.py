"""Off-policy estimates of a run's files, against clicks whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click_logs import RANKS, Policy, World, a_world

from training.clicks.log import ClickLog
from training.clicks.store import write_clicks
from training.evaluation.counterfactual import (
    ClicksEvidence,
    estimates,
    read_clicks_evidence,
)

SHOWN = len(RANKS)
CHANGING = Policy(error=0.7, change=1.5)  # every document is shown now and then


def run_folders(
    folder: Path,
    log: ClickLog | None,
    propensities: list[float | None],
    estimator: str = "pbm",
    identified: list[bool] | None = None,
) -> tuple[Path, Path]:
    collect, propensity = folder / "collect", folder / "propensity"
    collect.mkdir()
    propensity.mkdir()
    if log is not None:
        write_clicks(log, collect / "clicks.npz")
    (propensity / "choice.json").write_text(json.dumps({"estimator": estimator}))
    told = {"estimator": estimator, "propensities": propensities}
    (propensity / "propensities.json").write_text(json.dumps(told))
    if identified is not None:
        ranks = [{"identified": each} for each in identified]
        (propensity / "identifiability.json").write_text(json.dumps({"ranks": ranks}))
    return collect, propensity


def rankings_of(world: World, order: np.ndarray) -> dict[str, list[str]]:
    """The documents of every query in the order of their relevances, (queries, documents)."""
    return {
        str(query): [str(document) for document in np.argsort(-order[query], kind="stable")]
        for query in range(len(world.relevances))
    }


def truth(world: World, rankings: dict[str, list[str]], tests: list[str]) -> float:
    """Clicks an impression, by the formula that drew the clicks, over the log's mix of queries."""
    log = world.log
    asked = np.bincount(log.queries, minlength=len(world.relevances)).astype(float)
    total = value = 0.0
    for query in map(int, tests):
        found = [int(one) for one in rankings[str(query)][:SHOWN]]
        value += asked[query] * float((world.relevances[query, found] / RANKS).sum())
        total += asked[query]
    return value / total


@pytest.fixture(scope="module")
def world() -> World:
    return a_world("pbm", CHANGING, sessions=30_000, queries=100)


TESTS = [str(query) for query in range(0, 100, 2)]


def test_both_values_and_their_difference_hold_the_truth(tmp_path: Path, world: World) -> None:
    collect, propensity = run_folders(tmp_path, world.log, (1 / RANKS).tolist())
    evidence = read_clicks_evidence(collect, propensity, set(TESTS))
    assert isinstance(evidence, ClicksEvidence)
    assert set(evidence.log.queries.tolist()) <= set(map(int, TESTS))
    noise = np.random.default_rng(5).normal(0, 0.5, world.relevances.shape)
    production = rankings_of(world, world.relevances + noise)
    candidate = rankings_of(world, world.relevances)
    told = estimates(evidence, production, candidate)
    expected = {
        name: truth(world, one, TESTS)
        for name, one in (("production", production), ("candidate", candidate))
    }
    expected["difference"] = expected["candidate"] - expected["production"]
    for estimator, three in told.estimates.items():
        for name, value in expected.items():
            made = three[name]
            wide = made["high"] - made["low"]
            assert made["value"] == pytest.approx(value, abs=wide), (estimator, name)
            assert 0 < wide < 0.35
    assert told.estimates["doubly_robust"]["difference"]["low"] > 0
    assert told.sentence.startswith("The clicks of test queries say that the candidate would earn")
    assert told.depth == SHOWN


def test_a_worse_candidate_is_said_to_be_worse_and_an_equal_one_not(
    tmp_path: Path, world: World
) -> None:
    evidence = read_clicks_evidence(
        *run_folders(tmp_path, world.log, (1 / RANKS).tolist()), set(TESTS)
    )
    assert isinstance(evidence, ClicksEvidence)
    best, worst = (rankings_of(world, sign * world.relevances) for sign in (1, -1))
    assert "earn less" in estimates(evidence, best, worst).sentence
    same = estimates(evidence, best, best)
    assert "do not tell the two apart" in same.sentence
    assert same.estimates["snips"]["difference"]["value"] == 0.0


def test_documents_that_nobody_saw_are_said(tmp_path: Path, world: World) -> None:
    evidence = read_clicks_evidence(
        *run_folders(tmp_path, world.log, (1 / RANKS).tolist()), set(TESTS)
    )
    assert isinstance(evidence, ClicksEvidence)
    best = rankings_of(world, world.relevances)
    unknown = {query: [f"new {rank}" for rank in range(SHOWN)] for query in best}
    told = estimates(evidence, best, unknown)
    assert told.estimates["snips"]["candidate"]["unsupported"] == pytest.approx(1.0)
    assert "100% of what the candidate ranks" in told.sentence


def test_only_identified_ranks_are_counted(tmp_path: Path, world: World) -> None:
    identified = [True] * 3 + [False] * (SHOWN - 3)
    evidence = read_clicks_evidence(
        *run_folders(tmp_path, world.log, (1 / RANKS).tolist(), identified=identified), set(TESTS)
    )
    assert isinstance(evidence, ClicksEvidence)
    assert evidence.depth == evidence.log.ranks == 3
    best = rankings_of(world, world.relevances)
    told = estimates(evidence, best, best)
    expected = (
        sum(
            np.bincount(evidence.log.queries, minlength=100)[query]
            * float((np.sort(world.relevances[query])[::-1][:3] / RANKS[:3]).sum())
            for query in map(int, TESTS)
        )
        / evidence.log.impressions
    )
    made = told.estimates["doubly_robust"]["candidate"]
    assert made["low"] - 0.1 < expected < made["high"] + 0.1


def test_propensities_from_a_file_count_for_all_ranks(tmp_path: Path, world: World) -> None:
    given = run_folders(tmp_path, world.log, (1 / RANKS).tolist(), "file", [False] * SHOWN)
    evidence = read_clicks_evidence(*given, set(TESTS))
    assert isinstance(evidence, ClicksEvidence)
    assert evidence.depth == SHOWN


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"log": None}, "There is no click log"),
        ({"estimator": "none"}, "estimator none"),
        ({"identified": [True, False, True]}, "does not identify how likely ranks below the first"),
        ({"tests": {"0"}}, "fewer than 200"),
    ],
)
def test_a_log_that_cannot_tell_says_why(
    tmp_path: Path, world: World, changed: dict, sentence: str
) -> None:
    log = world.log if "log" not in changed else None
    if "tests" in changed:
        log = world.log.select(np.arange(1000))
    folders = run_folders(
        tmp_path,
        log,
        (1 / RANKS).tolist(),
        changed.get("estimator", "pbm"),
        changed.get("identified"),
    )
    told = read_clicks_evidence(*folders, changed.get("tests", set(TESTS)))
    assert isinstance(told, str)
    assert sentence in told
