"""What is told of one query, from folders that are written here by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sidecar.errors import InputFileError, InvalidFieldError
from training.clicks.log import click_log
from training.clicks.store import write_clicks
from training.config import TrainingConfig
from training.explain import Explained, explain, find, to_lines, to_tree
from training.lists import ListCandidate, Source, Split, TrainingList, write_lists
from training.queries import KnownQuery, write_queries


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four impressions of q-a: A above B, each clicked, one order; one of q-b; nothing of q-c."""
    for place in ("collect", "propensity", "label", "reranker/mine", "reranker/evaluate"):
        (tmp_path / place).mkdir(parents=True)
    names = {"q-a": "Green tea", "q-b": "black tea", "q-c": "water"}
    known = [KnownQuery(name, text, Split.TRAIN, 1) for name, text in names.items()]
    write_queries(known, tmp_path / "collect" / "queries.jsonl")
    rows = [{"_id": doc_id, "title": f"title {doc_id}", "text": "words"} for doc_id in "ABC"]
    (tmp_path / "collect" / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    documents = np.array([[0, 1], [0, 1], [0, 1], [1, 0], [2, 1]])
    clicks = np.array([[1, 0], [1, 0], [0, 1], [0, 0], [1, 0]], dtype=bool)
    orders = np.zeros_like(clicks)
    orders[1, 0] = True
    dwell = np.full(clicks.shape, np.nan)
    dwell[0, 0], dwell[1, 0] = 40.0, 60.0
    log = click_log(
        np.array([0, 0, 0, 0, 1]),
        documents,
        query_names=("q-a", "q-b"),
        document_names=("A", "B", "C"),
        clicks=clicks,
        orders=orders,
        dwell_seconds=dwell,
    )
    write_clicks(log, tmp_path / "collect" / "clicks.npz")
    choice = {"estimator": "none", "candidates": [], "why": ["it was asked for"]}
    (tmp_path / "propensity" / "choice.json").write_text(json.dumps(choice))
    positive = ListCandidate("A", 0.8, 4, 0.5, Source.CLICKED)
    lists = [TrainingList("q-a", "Green tea", Split.TRAIN, (positive,))]
    write_lists(lists, tmp_path / "label" / "lists.jsonl")
    negative = ListCandidate("C", 0.0, 0, 1.0, Source.HARD)
    mined = [TrainingList("q-a", "Green tea", Split.TRAIN, (positive, negative))]
    write_lists(mined, tmp_path / "reranker" / "mine" / "lists.jsonl")
    row = {
        "query_id": "q-a",
        "slices": ["head"],
        "difference": 0.25,
        "values": {"production": {"fused": {"nDCG@10": 0.5}}},
        "top": {"production": ["B", "A"], "candidate": ["A", "C"]},
    }
    measured = tmp_path / "reranker" / "evaluate" / "per_query.jsonl"
    measured.write_text(json.dumps(row) + "\n")
    return tmp_path


def told(root: Path, asked: str = "q-a") -> Explained:
    return explain(TrainingConfig(), root, asked)


def test_a_query_by_its_text_as_anybody_types_it(root: Path) -> None:
    assert find(root, "  GREEN   tea ").query_id == "q-a"
    with pytest.raises(InvalidFieldError, match="there are 'Green tea', 'black tea'"):
        find(root, "white tea")
    with pytest.raises(InputFileError):
        find(root / "elsewhere", "green tea")


def test_what_users_did_with_its_documents(root: Path) -> None:
    found = told(root)
    assert found.impressions == 4
    first, second = found.shown
    assert (first.doc_id, first.mean_rank, first.clicks, first.orders) == ("A", 1.25, 2.0, 1)
    assert (first.grade, first.dwell_seconds) == ("ordered", 50.0)
    assert (second.doc_id, second.mean_rank, second.clicks) == ("B", 1.75, 1.0)
    # With no propensities every rank that is shown counts as looked at.
    assert first.examinations == first.impressions == pytest.approx(4.0)


def test_its_lists_and_its_ranks(root: Path) -> None:
    lines = "\n".join(to_lines(told(root)))
    assert "reranker/mine: 1 positives, 1 negatives" in lines
    assert "hard" in lines
    assert "examination by none" in lines
    assert "+0.2500 against production; slices: head" in lines
    ranks = [line.split()[:3] for line in lines.splitlines()[-3:]]
    assert ranks == [["2", "1", "A"], ["-", "2", "C"], ["1", "-", "B"]]
    assert "title C" in lines


def test_a_list_by_what_is_expected(root: Path) -> None:
    """What has a gain that nobody has told is neither a positive nor a negative."""
    mined = root / "reranker" / "mine" / "lists.jsonl"
    candidates = [
        ListCandidate("A", 0.8, 4, 1.0, Source.CLICKED),
        ListCandidate("B", 0.2, 0, 1.0, Source.SHOWN),
        ListCandidate("C", 0.1, 0, 1.0, Source.HARD),
        ListCandidate("D", 0.0, 0, 1.0, Source.RANDOM),
    ]
    write_lists([TrainingList("q-a", "Green tea", Split.TRAIN, tuple(candidates))], mined)
    (line,) = (line for line in to_lines(told(root)) if "reranker/mine" in line)
    assert line == "\nreranker/mine: 1 positives, 1 negatives, 2 between, as the log lets expect"


def test_a_query_that_nobody_asked(root: Path) -> None:
    found = told(root, "q-c")
    assert (found.impressions, found.shown, found.lists) == (0, [], {})
    assert list(to_lines(found)) == [
        "q-c 'water': train, asked 1 times",
        "the log has nothing of it",
    ]


@pytest.mark.parametrize(
    "name", ["collect/queries.jsonl", "collect/corpus.jsonl", "reranker/evaluate/per_query.jsonl"]
)
def test_a_damaged_file_of_the_run(root: Path, name: str) -> None:
    (root / name).write_text('{"_id": "Z", "query_id"\n')
    with pytest.raises(InputFileError, match=rf"{name}, line 1: not valid JSON"):
        told(root)


def test_as_json(root: Path) -> None:
    tree = json.loads(json.dumps(to_tree(told(root))))
    assert tree["shown"][0]["doc_id"] == "A"
    assert tree["lists"]["label"]["candidates"][0]["gain"] == 0.8
