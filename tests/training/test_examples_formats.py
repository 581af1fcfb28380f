"""Labelled formats: what each row means, and every reason for which one is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_works import a_beir_folder, json_lines, write_json_lines

from sidecar.errors import InputFileError
from training.examples.base import Passage
from training.examples.formats import NAMES, Labelled, read_labelled
from training.examples.places import Place, place_of
from training.examples.refusals import Refusals

ALPHA, BETA, GAMMA = (Passage(text=text) for text in ("alpha", "beta", "gamma"))
POSITIVES = {"query": "q", "positive": "alpha", "negatives": ["beta", "gamma"]}
PAIR = {"query": "q", "passage": "alpha", "score": 1}
LISTWISE = {"query": "q", "documents": ["alpha", {"_id": "b", "text": "beta"}], "labels": [3, 0]}


def read(path: Path, **of: str) -> tuple[Labelled, Refusals]:
    refusals = Refusals()
    return read_labelled(Place(path, **of), refusals), refusals


def pairs_of(found: Labelled) -> list[tuple[str, Passage, float | str]]:
    return [(one.query, one.passage, one.label) for one in found.examples]


@pytest.mark.parametrize(
    ("row", "name", "labelled"),
    [
        (POSITIVES, "positives", [(ALPHA, 1.0), (BETA, 0.0), (GAMMA, 0.0)]),
        ({"query": "q", "positive": "alpha"}, "positives", [(ALPHA, 1.0)]),
        ({"query": "q", "pos": ["alpha", "beta"], "neg": []}, "positives", [(ALPHA, 1), (BETA, 1)]),
        (
            {"anchor": "q", "positive": "alpha", "negative_1": "beta", "negative_2": "gamma"},
            "positives",
            [(ALPHA, 1), (BETA, 0), (GAMMA, 0)],
        ),
        (
            {
                "query": "q",
                "positive_passages": [{"docid": 7, "title": "A", "text": "alpha"}],
                "negative_ids": ["9"],
            },
            "positives",
            [(Passage("7", "A", "alpha"), 1), (Passage("9"), 0)],
        ),
        (PAIR, "pairs", [(ALPHA, 1.0)]),
        ({"query": "q", "doc_id": 12, "relevance": "0.25"}, "pairs", [(Passage("12"), 0.25)]),
        ({"query": "q", "document": "alpha", "label": True}, "pairs", [(ALPHA, 1.0)]),
        ({"query": "q", "text": "alpha", "grade": "直接相关"}, "pairs", [(ALPHA, "直接相关")]),
        (
            {"query": "q", "passage": {"id": "a", "contents": "alpha"}, "title": "T", "score": -2},
            "pairs",
            [(Passage("a", "T", "alpha"), -2.0)],
        ),
        (LISTWISE, "listwise", [(ALPHA, 3.0), (Passage("b", "", "beta"), 0.0)]),
        (
            {"query": "q", "doc_ids": ["a", "b"], "scores": [0.5, 1]},
            "listwise",
            [(Passage("a"), 0.5), (Passage("b"), 1.0)],
        ),
        (
            {
                "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "q"}],
                "positive_messages": [[{"role": "assistant", "content": "alpha"}]],
                "negative_messages": [{"role": "assistant", "content": "beta"}],
            },
            "messages",
            [(ALPHA, 1.0), (BETA, 0.0)],
        ),
    ],
)
def test_what_rows_mean(tmp_path: Path, row: Any, name: str, labelled: list[Any]) -> None:
    found, refusals = read(write_json_lines(tmp_path / "examples.jsonl", row))
    assert found.format == name
    assert pairs_of(found) == [("q", passage, label) for passage, label in labelled]
    assert not refusals.rows


@pytest.mark.parametrize(
    ("good", "row", "reason"),
    [
        (POSITIVES, {"query": "", "positive": "alpha"}, 'no query: give it in "query"'),
        (POSITIVES, {"query": 7, "positive": "alpha"}, "query: 7 is no text"),
        (POSITIVES, {"query": "q", "positive": []}, "no positive"),
        (POSITIVES, {"query": "q", "positive": "  "}, "is no passage"),
        (POSITIVES, {"query": "q", "positive": [7]}, "7 is no passage"),
        (POSITIVES, {"query": "q", "positive": {"title": ""}}, "without an id and without a text"),
        (POSITIVES, {"query": "q", "positive": {"_id": "x", "text": 7}}, "are texts"),
        (POSITIVES, {"query": "q", "positive_ids": [True]}, "no document id"),
        (POSITIVES, {"query": "q", "positive": "a", "neg": ["b", "a"]}, "positive and negative at"),
        (POSITIVES, PAIR, "a row of pairs in a file of positives"),
        (POSITIVES, {"question": "q"}, "fields question in a file of positives"),
        (PAIR, {"query": "q", "passage": "alpha", "score": None}, "no label"),
        (PAIR, {"query": "q", "passage": "", "score": 1}, "no passage"),
        (PAIR, {"query": "q", "passage": "alpha", "score": [1]}, "neither a number nor the name"),
        (PAIR, {"query": "q", "passage": "alpha", "score": "nan"}, "no number to rank by"),
        (PAIR, {"query": "q", "passage": "a", "title": 7, "score": 1}, "title: no text"),
        (
            LISTWISE,
            {"query": "q", "documents": ["a"], "labels": [1, 2]},
            "1 documents and 2 labels",
        ),
        (LISTWISE, {"query": "q", "documents": ["a"], "labels": 1}, "1 is no list"),
        (LISTWISE, {"query": "q", "documents": "a", "labels": [1]}, '"a" is no list'),
        (LISTWISE, {"query": "q", "documents": [], "labels": [1]}, "0 documents and 1 labels"),
        (LISTWISE, {"query": "q", "documents": None, "labels": [1]}, "no documents"),
        (LISTWISE, {"query": "q", "documents": ["a"], "labels": None}, "no labels"),
        (
            {"messages": [{"content": "q"}], "positive_messages": [[{"content": "alpha"}]]},
            {"messages": [], "positive_messages": [[{"content": "alpha"}]]},
            "messages: no",
        ),
        (
            {"messages": [{"content": "q"}], "positive_messages": [[{"content": "alpha"}]]},
            {"messages": [{"content": "q"}], "positive_messages": []},
            "positive_messages: none",
        ),
        (
            {"messages": [{"content": "q"}], "positive_messages": [[{"content": "alpha"}]]},
            {"messages": [{"content": "q"}], "positive_messages": "alpha"},
            "no list of conversations",
        ),
    ],
)
def test_a_row_that_is_refused_says_where_and_why(
    tmp_path: Path, good: Any, row: Any, reason: str
) -> None:
    path = write_json_lines(tmp_path / "examples.jsonl", good, row, good)
    with Refusals(tmp_path / "refused.jsonl") as refusals:
        found = read_labelled(Place(path), refusals)
    assert {one.line for one in found.examples} == {1, 3}
    refused = json_lines(tmp_path / "refused.jsonl")
    assert [(one["file"], one["line"]) for one in refused] == [(str(path), 2)]
    assert reason in refused[0]["reason"]
    assert refusals.rows == {str(path): 1}


def test_two_formats_at_once_are_not_guessed(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "both.jsonl", {**POSITIVES, **PAIR})
    with pytest.raises(InputFileError, match="could be positives or pairs"):
        read(path)
    assert pairs_of(read(path, name="pairs")[0]) == [("q", ALPHA, 1.0)]


def test_a_file_without_a_good_row_is_an_error(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "none.jsonl", {"text": "x"}, {"text": "y"})
    with pytest.raises(InputFileError, match=r"no row of it is an example \(line 1: fields text"):
        read(path)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputFileError, match="it is empty"):
        read(tmp_path / "empty.csv")


def test_names_of_formats_and_files_that_are_none(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "examples.jsonl", PAIR)
    with pytest.raises(InputFileError, match=f"one of {', '.join(NAMES)}"):
        read(path, name="pears")
    with pytest.raises(InputFileError, match="is not there"):
        read(tmp_path / "else.jsonl")
    with pytest.raises(InputFileError, match="is no folder of examples"):
        read(tmp_path)
    (tmp_path / "examples.doc").write_text("x")
    with pytest.raises(InputFileError, match=r"is none of \.jsonl"):
        read(tmp_path / "examples.doc")


def test_synthetic_rows_are_marked(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "made.jsonl", {**PAIR, "synthetic": True}, PAIR)
    assert [one.synthetic for one in read(path)[0].examples] == [True, False]


# Containers


def test_the_same_rows_from_every_container(tmp_path: Path) -> None:
    rows = [
        {"query": 'a "b",\nc', "passage": "Größe, 直接", "score": 2},
        {"query": "q", "passage": "x", "score": 0},
    ]
    write_json_lines(tmp_path / "rows.jsonl", *rows)
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for suffix, delimiter in (("csv", ","), ("tsv", "\t")):
        with (tmp_path / f"rows.{suffix}").open("w", newline="", encoding="utf-8-sig") as out:
            writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    for suffix in ("jsonl", "json", "parquet", "csv", "tsv"):
        found, refusals = read(tmp_path / f"rows.{suffix}")
        assert [(one.query, one.passage.text, one.label) for one in found.examples] == [
            (row["query"], row["passage"], row["score"]) for row in rows
        ]
        assert not refusals.rows


@given(
    st.lists(
        st.tuples(st.text(min_size=1), st.text(min_size=1), st.integers(0, 4)),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]]
) -> None:
    """Rows whose texts are none are refused; no row is lost without a word."""
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    named = [{"query": q, "passage": p, "score": s} for q, p, s in [*rows, ("q", "p", 1)]]
    path.write_text(json.dumps(named, indent=2))
    found, refusals = read(path)
    kept = [(one.query, one.passage.text, one.label) for one in found.examples]
    assert kept == [(q, p, s) for q, p, s in [*rows, ("q", "p", 1)] if q.strip() and p.strip()]
    assert len(kept) + sum(refusals.rows.values()) == len(named)


def test_lists_in_cells(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        'query,positive,negatives\nq,alpha,"[""beta"", ""gamma""]"\nr,[alpha] in brackets,\n'
    )
    assert pairs_of(read(tmp_path / "rows.csv")[0]) == [
        ("q", ALPHA, 1.0),
        ("q", BETA, 0.0),
        ("q", GAMMA, 0.0),
        ("r", Passage(text="[alpha] in brackets"), 1.0),
    ]


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        (
            "a.jsonl",
            b'{"query": "q", "passage": "p", "score": 1}\n{"query": \n',
            2,
            "not valid JSON",
        ),
        ("a.jsonl", b'{"query": "q", "passage": "p", "score": 1}\n[1]\n', 2, "no object with"),
        ("a.jsonl", b'{"query": "q", "passage": "p", "score": 1}\n"\xff"\n', 2, "not UTF-8"),
        ("a.json", b'[{"query": "q",\n"passage": "p", "score": 1},\n\n 7]', 4, "no object with"),
        ("a.json", b'[{"query": "q", "passage": "p", "score": 1},\n{"query": ]', 2, "not valid"),
        ("a.json", b'[{"query": "q", "passage": "p", "score": 1},\n', 2, "has no end"),
        ("a.csv", b'query,passage,score\n"q\nq",p,1\nq,p\n', 4, "2 cells under 3 columns"),
    ],
)
def test_what_cannot_be_read(
    tmp_path: Path, name: str, content: bytes, line: int, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with Refusals(tmp_path / "refused.jsonl") as refusals:
        found = read_labelled(Place(tmp_path / name), refusals)
    assert len(found.examples) == 1
    (refused,) = json_lines(tmp_path / "refused.jsonl")
    assert refused["line"] == line
    assert reason in refused["reason"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b'{"query": "q"}', "is no JSON array"),
        ("a.json", b'["\xff"]', "not UTF-8 at byte 2"),
        ("a.csv", b"query,passage,score\n\xff,p,1\n", "not UTF-8"),
        ("a.parquet", b"PAR2", "is no Parquet file"),
    ],
)
def test_files_that_cannot_be_read_at_all(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputFileError, match=reason):
        read(tmp_path / name)


# Folders


def test_a_beir_folder(tmp_path: Path) -> None:
    queries = {"1": "alpha", "synthetic-2": "beta"}
    folder = a_beir_folder(tmp_path, queries, {"1": {"x": 2, "y": 0}}, {"x": "words"})
    with (folder / "qrels" / "train.tsv").open("a") as out:
        out.write("\nsynthetic-2\tx\t1\n1\tx\n9\tx\t1\n1\tz\thigh\n1\tz\tinf\n")
    with (folder / "queries.jsonl").open("a") as out:
        out.write('{"_id": "3"}\n')
    with Refusals(tmp_path / "refused.jsonl") as refusals:
        found = read_labelled(Place(folder), refusals)
    assert found.format == "beir"
    assert pairs_of(found) == [
        ("alpha", Passage("x"), 2.0),
        ("alpha", Passage("y"), 0.0),
        ("beta", Passage("x"), 1.0),
    ]
    assert [one.synthetic for one in found.examples] == [False, False, True]
    assert found.documents == (folder / "corpus.jsonl",)
    reasons = [(Path(one["file"]).name, one["reason"]) for one in json_lines(told_path(tmp_path))]
    wanted = ["no query", "separated by tabs", "not in queries.jsonl", "is no number", "is none"]
    assert [name for name, _ in reasons] == ["queries.jsonl", *["train.tsv"] * 4]
    assert all(part in reason for part, (_, reason) in zip(wanted, reasons, strict=True))


def told_path(folder: Path) -> Path:
    return folder / "refused.jsonl"


def test_splits_of_a_beir_folder(tmp_path: Path) -> None:
    folder = a_beir_folder(tmp_path / "set", {"1": "a"}, {"1": {"x": 1}}, {"x": "w"}, "dev")
    assert read(folder)[0].examples  # the only one
    a_beir_folder(folder, {"1": "a"}, {"1": {"x": 2}}, {"x": "w"}, "test")
    with pytest.raises(InputFileError, match=r"no qrels/train\.tsv; splits there: dev, test"):
        read(folder)
    place = place_of(f"{folder}:test")
    assert place == Place(folder, split="test")
    assert read_labelled(place, Refusals()).examples[0].label == 2.0


def test_trec(tmp_path: Path) -> None:
    (tmp_path / "queries.tsv").write_text("1\talpha beta\n2\n")
    (tmp_path / "collection.tsv").write_text("d1\twords\n")
    (tmp_path / "qrels.txt").write_text("1 0 d1 2\n1 Q0 d2 -1\n1 0 d3\n7 0 d1 1\n1 0 d4 x\n")
    with Refusals(told_path(tmp_path)) as refusals:
        found = read_labelled(Place(tmp_path), refusals)
    assert found.format == "trec"
    assert pairs_of(found) == [
        ("alpha beta", Passage("d1"), 2.0),
        ("alpha beta", Passage("d2"), -1.0),
    ]
    assert found.documents == (tmp_path / "collection.tsv",)
    reasons = [one["reason"] for one in json_lines(told_path(tmp_path))]
    wanted = [
        "a query id and a text",
        "separated by spaces",
        "not in queries.tsv (1 rows",
        "no whole number",
    ]
    assert all(part in reason for part, reason in zip(wanted, reasons, strict=True))
    assert read(tmp_path / "qrels.txt")[0].format == "trec"


def test_trec_needs_queries(tmp_path: Path) -> None:
    (tmp_path / "qrels.txt").write_text("1 0 d1 2\n")
    with pytest.raises(InputFileError, match="qrels need queries beside them"):
        read(tmp_path / "qrels.txt", name="trec")
    write_json_lines(tmp_path / "queries.jsonl", {"_id": "1", "text": "alpha"})
    assert read(tmp_path)[0].examples[0].query == "alpha"


# Places


def test_places(tmp_path: Path) -> None:
    (tmp_path / "a=b:c.jsonl").write_text("")
    assert place_of(str(tmp_path / "a=b:c.jsonl")) == Place(tmp_path / "a=b:c.jsonl")
    assert place_of(f"pairs={tmp_path}/x.csv") == Place(tmp_path / "x.csv", "pairs")
    assert place_of(f"beir={tmp_path}:dev") == Place(tmp_path, "beir", "dev")
    assert place_of("else.csv") == Place(Path("else.csv"))
