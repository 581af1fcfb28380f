"""Expected grades of what was shown and of what was not, against worlds whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click_logs import WEAK, a_world

from sidecar.errors import InputFileError
from sidecar.evaluation.measures import ndcg
from training.evaluation.comparing import expected_qrels
from training.evaluation.queries import QuerySet
from training.evaluation.system_run import SystemRun
from training.labels.expected_grades import ExpectedGrades, estimated, read_expected_grades
from training.labels.from_clicks import LabelRules, label
from training.propensity.power import PowerLaw


@pytest.fixture(scope="module")
def world():
    return a_world("pbm", WEAK, sessions=20_000, queries=100)


@pytest.fixture(scope="module")
def estimates(world) -> ExpectedGrades:
    labels = label(world.log, PowerLaw().fit(world.log), LabelRules(half_life_days=None))
    return estimated(labels, world.log, set(world.log.query_names))


def test_what_was_shown_is_graded_as_relevant_as_it_is(world, estimates) -> None:
    pairs = [
        (world.relevances[int(query), int(doc_id)], grade)
        for query, shown in estimates.shown.items()
        for doc_id, grade in shown.items()
    ]
    truth, found = np.array(pairs).T
    assert np.corrcoef(truth, found)[0, 1] > 0.85
    assert found.min() >= 0
    assert found.max() <= 4


def test_only_queries_that_are_asked_for_are_told(world) -> None:
    labels = label(world.log, PowerLaw().fit(world.log), LabelRules(half_life_days=None))
    assert set(estimated(labels, world.log, {"3", "x"}).shown) == {"3"}


def test_what_was_not_shown_follows_the_line_of_the_ranks() -> None:
    estimates = ExpectedGrades({"q": {"a": 2.0}}, first=1.0, decay=0.1, depth=10)
    assert estimates.grade("q", "a", 50) == 2.0
    assert estimates.grade("q", "b", 21) == pytest.approx(np.exp(-2.0))
    assert estimates.grade("other", "a", 1) == pytest.approx(np.exp(-1.0))  # below all that was


def test_written_and_read(tmp_path: Path, estimates) -> None:
    estimates.write(tmp_path / "expected_grades.json")
    assert read_expected_grades(tmp_path / "expected_grades.json") == estimates
    (tmp_path / "cut.json").write_text(json.dumps({"shown": {}}))
    with pytest.raises(InputFileError, match="holds no expected grades"):
        read_expected_grades(tmp_path / "cut.json")


def test_a_log_without_clicks_expects_nothing(world) -> None:
    none = world.log.select(np.flatnonzero(~world.log.clicks.any(axis=1)))
    labels = label(none, PowerLaw().fit(none), LabelRules(half_life_days=None))
    found = estimated(labels, none, set(none.query_names))
    assert found.prior(1) < 0.2


def a_run(orders: dict[str, list[str]]) -> SystemRun:
    return SystemRun({"second_rerank": orders, "fused": orders}, {})


def test_a_better_system_is_seen_to_be_better_though_it_ranks_what_nobody_saw() -> None:
    """Production hides a third of each query's best documents; users only ever see its ten."""
    world = a_world("pbm", WEAK, sessions=20_000, queries=150, seed=5)
    labels = label(world.log, PowerLaw().fit(world.log), LabelRules(half_life_days=None))
    estimates = estimated(labels, world.log, set(world.log.query_names))
    shown = {
        name: np.bincount(world.log.documents[world.log.queries == number].ravel(), minlength=30)
        for number, name in enumerate(world.log.query_names)
    }
    production = {name: [str(d) for d in np.argsort(-seen)] for name, seen in shown.items()}
    truth = {name: world.relevances[int(name)] for name in production}
    better = {name: [str(d) for d in np.argsort(-truth[name])] for name in production}
    source = np.random.default_rng(1)
    worse = {name: [str(d) for d in source.permutation(30)] for name in production}
    judged = {
        name: {doc_id: 1 for doc_id, grade in estimates.shown[name].items() if grade > 1}
        for name in production
        if name in estimates.shown
    }
    queries = QuerySet("log", "clicks", {}, judged, (), frozenset(judged), estimates)
    runs = {"production": a_run(production), "better": a_run(better), "worse": a_run(worse)}
    qrels = expected_qrels(queries, runs, {})

    def mean(run: dict[str, list[str]]) -> float:
        return float(np.mean([ndcg(run[name], qrels[name], 10) for name in qrels]))

    assert mean(worse) < mean(production) < mean(better)
    assert all(set(qrels[name]) == set(map(str, range(30))) for name in qrels)


def test_what_nobody_saw_is_worth_the_same_whichever_system_finds_it() -> None:
    grades = ExpectedGrades({"q": {"a": 2.0, "b": 0.1}}, first=1.0, decay=0.1, depth=2)
    queries = QuerySet("log", "clicks", {}, {"q": {"a": 2}}, (), frozenset({"q"}), grades)
    one, other = a_run({"q": ["a", "b", "x", "y"]}), a_run({"q": ["a", "z", "y", "b"]})
    found = expected_qrels(queries, {"production": one, "candidate": other}, {})["q"]
    assert found == expected_qrels(queries, {"production": other, "candidate": one}, {})["q"]
    assert found == pytest.approx(
        {"a": 2.0, "b": 0.1, "x": np.exp(-0.2), "y": np.exp(-0.2), "z": np.exp(-0.2)}
    )


def test_judged_queries_keep_their_judgments() -> None:
    queries = QuerySet("set", "judgments", {}, {"q": {"a": 1}}, ())
    assert expected_qrels(queries, {}, {}) == {"q": {"a": 1}}
