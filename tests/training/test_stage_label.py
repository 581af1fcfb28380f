"""From the log of the sidecar to lists: what was planted comes out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feedbacks import HOUR, NOON, an_event, an_impression, submitted
from stage_works import a_beir_folder, a_config, a_work, json_lines, write_json_lines

from sidecar.feedback_types import Event, Impression, ShownHit
from sidecar.simulation.click_models import PositionBased
from sidecar.storage.feedback.journal import Journal
from sidecar.storage.feedback.roll import roll
from sidecar.storage.feedback.rows import to_row
from sidecar.types import Stage
from training.labels.expected_grades import read_expected_grades
from training.lists import Source, Split, TrainingList, read_lists
from training.stages import collect, label, propensity

RELEVANCES = (0.9, 0.05, 0.5, 0.05, 0.2, 0.05)


def run_all(root: Path, **sections: Any) -> tuple[list[TrainingList], dict[str, Any]]:
    """collect, propensity and label; (lists, the report of label)."""
    config = a_config(**sections)
    collect.run(a_work(root, "collect", config))
    propensity.run(a_work(root, "propensity", config, "collect"))
    label.run(a_work(root, "label", config, "collect", "propensity"))
    report = json.loads((root / "label" / "report.json").read_text())
    return list(read_lists(root / "label" / "lists.jsonl")), report


def a_feedback_log(folder: Path, queries: int, impressions: int) -> Path:
    """Rankings change; users look at rank k with probability 1 / k. Documents are as relevant as
    RELEVANCES says, whatever the query."""
    source, users = random.Random(5), PositionBased()
    shown: list[Impression] = []
    events: list[Event] = []
    for number in range(impressions):
        order = source.sample(range(len(RELEVANCES)), len(RELEVANCES))
        query = number % queries
        hits = tuple(
            ShownHit(f"q{query}-d{each}", rank, Stage.FUSED, 0.0)
            for rank, each in enumerate(order, start=1)
        )
        shown.append(
            an_impression(number, query=f"query {query}", hits=hits, session=f"{number // 2:08x}")
        )
        clicked = users.clicks([RELEVANCES[each] for each in order], source)
        events += [
            an_event(f"{number}-{each}", number, f"q{query}-d{each}")
            for each, click in zip(order, clicked, strict=True)
            if click
        ]
    journal = Journal(folder)
    journal.write([to_row(one) for one in shown], [submitted(*events)])
    journal.close()
    roll(folder, NOON + 40 * HOUR)
    return folder


@pytest.fixture(scope="module")
def feedback(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_feedback_log(tmp_path_factory.mktemp("log"), queries=30, impressions=6000)


def documents(root: Path, queries: int) -> str:
    rows = {f"q{q}-d{d}": f"{q} {d}" for q in range(queries) for d in range(len(RELEVANCES))}
    return str(a_beir_folder(root / "docs", {}, {}, rows))


@pytest.mark.parametrize("estimator", ["harvest", "pbm"])
def test_planted_relevance_is_recovered(tmp_path: Path, feedback: Path, estimator: str) -> None:
    lists, report = run_all(
        tmp_path,
        collect={"feedback": [str(feedback)], "corpus": documents(tmp_path, 30)},
        propensity={"estimator": estimator},
        label={"best_event_examinations": 0.0},  # the rate of clicks alone
    )
    assert len(lists) == 30
    assert {one.split for one in lists} == set(Split)
    found = json.loads((tmp_path / "propensity" / "propensities.json").read_text())
    off = np.abs(np.array(found["propensities"]) - 1 / np.arange(1, 7))
    assert off.max() < 0.06
    gains = np.array(
        [
            [
                next((c.gain for c in one.candidates if c.doc_id.endswith(f"d{d}")), 0)
                for d in range(6)
            ]
            for one in lists
        ]
    )
    mean = gains.mean(axis=0)
    assert mean[0] > mean[2] > mean[4] > mean[[1, 3, 5]].max()
    assert (gains.argmax(axis=1) == 0).mean() > 0.9
    assert mean[[2, 4]] / mean[0] == pytest.approx([0.5 / 0.9, 0.2 / 0.9], abs=0.12)
    assert report["lists_by_split"]["train"] > 10


def test_auto_says_what_it_compared(tmp_path: Path, feedback: Path) -> None:
    run_all(tmp_path, collect={"feedback": [str(feedback)], "corpus": documents(tmp_path, 30)})
    choice = json.loads((tmp_path / "propensity" / "choice.json").read_text())
    assert {one["name"] for one in choice["candidates"]} == {"power", "trust", "dcm"}
    assert choice["estimator"] in {"none", "power", "trust", "dcm"}
    assert "chosen" in choice["why"][-1]
    foretold = json.loads((tmp_path / "propensity" / "perplexity.json").read_text())
    assert {"none", "power", "harvest", "pbm", "trust", "cascade", "dcm"} <= set(foretold)
    assert all(len(one["by_rank"]) == 6 for one in foretold.values())
    assert foretold["pbm"]["mean"] < foretold["none"]["mean"]
    report = json.loads((tmp_path / "propensity" / "identifiability.json").read_text())
    assert len(report["ranks"]) == 6
    assert len(report["words"]) == 7


def test_given_propensities(tmp_path: Path, feedback: Path) -> None:
    path = tmp_path / "known.json"
    path.write_text(json.dumps({"propensities": [1 / k for k in range(1, 7)]}))
    lists, _ = run_all(
        tmp_path,
        collect={"feedback": [str(feedback)], "corpus": documents(tmp_path, 30)},
        propensity={"estimator": "file", "file": str(path)},
    )
    choice = json.loads((tmp_path / "propensity" / "choice.json").read_text())
    assert choice["estimator"] == "file"
    assert len(lists) == 30


def impressions(path: Path, *rows: tuple[str, list[str], list[int]], times: int = 4) -> str:
    made = [{"query": q, "shown": s, "clicked": c} for q, s, c in rows for _ in range(times)]
    return str(write_json_lines(path, *made))


def test_what_is_a_candidate_and_what_is_not(tmp_path: Path) -> None:
    """a is clicked; b is passed over; c below the last click is not known to have been seen."""
    log = impressions(tmp_path / "log.jsonl", ("one", ["b", "a", "c"], [0, 1, 0]))
    corpus = a_beir_folder(tmp_path / "docs", {}, {}, {d: d for d in "abc"})
    lists, report = run_all(tmp_path, collect={"feedback": [log], "corpus": str(corpus)})
    (one,) = lists
    by_id = {each.doc_id: each for each in one.candidates}
    assert set(by_id) == {"a", "b"}
    assert by_id["a"].source is Source.CLICKED
    assert by_id["a"].gain > 0
    assert by_id["a"].grade == 2  # the last click of an impression
    assert by_id["b"].source is Source.SKIPPED
    assert (by_id["b"].gain, by_id["b"].grade) == (0.0, 0)
    assert all(0 < each.weight < 1 for each in one.candidates)
    assert report["sources"] == {"clicked": 1, "skipped": 1}


def test_every_query_of_the_log_has_expected_grades(tmp_path: Path, feedback: Path) -> None:
    """Train queries, too, and documents that no label is of."""
    lists, _ = run_all(
        tmp_path, collect={"feedback": [str(feedback)], "corpus": documents(tmp_path, 30)}
    )
    shown = read_expected_grades(tmp_path / "label" / "expected_grades.json").shown
    assert {one.split for one in lists} == set(Split)
    for one in lists:
        number = one.query.removeprefix("query ")
        assert set(shown[one.query_id]) == {f"q{number}-d{d}" for d in range(len(RELEVANCES))}
        assert max(shown[one.query_id], key=shown[one.query_id].__getitem__) in one.judged


def test_judgments_count_before_clicks(tmp_path: Path) -> None:
    log = impressions(tmp_path / "log.jsonl", ("One", ["b", "a"], [0, 1]))
    corpus = a_beir_folder(tmp_path / "docs", {}, {}, {d: d for d in "abc"})
    judged = write_json_lines(
        tmp_path / "p.jsonl",
        {"query": "one", "doc_id": "a", "score": 0},
        {"query": "one", "doc_id": "c", "score": 1},
        {"query": "two", "doc_id": "c", "score": 1},
    )
    lists, report = run_all(
        tmp_path,
        collect={"feedback": [log], "judgments": [str(judged)], "corpus": str(corpus)},
    )
    found = {one.query.lower(): {c.doc_id: c for c in one.candidates} for one in lists}
    assert (found["one"]["a"].gain, found["one"]["a"].source) == (0.0, Source.JUDGED)
    assert found["one"]["b"].source is Source.SKIPPED
    assert found["one"]["c"].gain == found["two"]["c"].gain == 1.0
    assert report["clicked_pairs_that_judgments_overrule"] == 1


def test_documents_that_are_not_known_get_no_label(tmp_path: Path) -> None:
    log = impressions(tmp_path / "log.jsonl", ("one", ["b", "a", "gone"], [1, 1, 1]))
    corpus = a_beir_folder(tmp_path / "docs", {}, {}, {d: d for d in "ab"})
    lists, report = run_all(tmp_path, collect={"feedback": [log], "corpus": str(corpus)})
    assert {each.doc_id for each in lists[0].candidates} == {"a", "b"}
    assert report["clicked_pairs_without_a_document"] == 1


def test_without_a_log_and_without_clicks(tmp_path: Path) -> None:
    judged = write_json_lines(tmp_path / "p.jsonl", {"query": "one", "passage": "w", "score": 1})
    lists, _ = run_all(tmp_path / "a", collect={"judgments": [str(judged)]})
    assert [one.candidates[0].source for one in lists] == [Source.JUDGED]
    choice = json.loads((tmp_path / "a" / "propensity" / "choice.json").read_text())
    assert choice == {"estimator": "none", "candidates": [], "why": ["there is no log"]}
    log = impressions(tmp_path / "log.jsonl", ("one", ["b", "a"], [0, 0]))
    lists, _ = run_all(tmp_path / "b", collect={"feedback": [log], "judgments": [str(judged)]})
    assert len(lists) == 1
    choice = json.loads((tmp_path / "b" / "propensity" / "choice.json").read_text())
    assert choice["why"] == ["nothing in the log was clicked"]


def test_orders_are_worth_more_than_clicks(tmp_path: Path) -> None:
    rows = [
        {
            "query": "one",
            "shown": ["a", "b"],
            "events": [
                {"action": "click", "doc_id": "a"},
                {"action": "click", "doc_id": "b"},
                {"action": "order", "doc_id": "b", "value": 3.0},
            ],
        }
    ] * 5
    log = str(write_json_lines(tmp_path / "log.jsonl", *rows))
    corpus = a_beir_folder(tmp_path / "docs", {}, {}, {d: d for d in "ab"})
    (one,), _ = run_all(tmp_path, collect={"feedback": [log], "corpus": str(corpus)})
    assert [each.doc_id for each in one.candidates] == ["b", "a"]
    assert one.candidates[0].grade == 4
    assert one.candidates[0].gain == 1.0
    assert one.candidates[1].gain < 0.6


def test_queries_of_lists_are_those_of_collect(tmp_path: Path, feedback: Path) -> None:
    lists, _ = run_all(
        tmp_path, collect={"feedback": [str(feedback)], "corpus": documents(tmp_path, 30)}
    )
    queries = {q["query_id"]: q for q in json_lines(tmp_path / "collect" / "queries.jsonl")}
    for one in lists:
        assert queries[one.query_id]["split"] == one.split
        assert queries[one.query_id]["query"] == one.query
        assert all(c.doc_id.split("-")[0][1:] == one.query.split()[1] for c in one.candidates)
