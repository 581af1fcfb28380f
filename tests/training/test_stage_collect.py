"""The stage collect: what went in comes out once, under ids of the run's own, or is told of."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feedbacks import HOUR, NOON, an_event, an_impression, submitted
from stage_works import a_beir_folder, a_config, a_work, json_lines, write_json_lines

from sidecar.errors import ConfigurationError, InputFileError
from sidecar.storage.feedback.journal import Journal
from sidecar.storage.feedback.roll import roll
from sidecar.storage.feedback.rows import to_row
from training.clicks.store import read_clicks
from training.queries import query_id_of
from training.stages import collect

DOCUMENTS = {"x": "words of x", "y": "words of y", "z": "words of z"}


def collected(root: Path, sidecar: dict[str, Any] | None = None, **section: Any) -> dict[str, Any]:
    """The report, with the figures and what was said."""
    said = io.StringIO()
    config = a_config(collect=section, sidecar=sidecar or {}, seed=3)
    work = a_work(root, "collect", config, said=said)
    figures = collect.run(work)
    report = json.loads((work.out / "report.json").read_text())
    return {**report, "figures": dict(figures), "said": said.getvalue()}


def lines(root: Path, name: str) -> list[Any]:
    return json_lines(root / "collect" / f"{name}.jsonl")


def test_labelled_files_of_several_formats(tmp_path: Path) -> None:
    beir = a_beir_folder(tmp_path / "set", {"1": "Red Shoes"}, {"1": {"x": 3, "z": 0}}, DOCUMENTS)
    pairs = write_json_lines(
        tmp_path / "pairs.jsonl",
        {"query": "red  shoes", "passage": "words  of y", "score": 0.5},
        {"query": "boots", "passage": "words of nobody", "score": 1.0},
        {"query": "boots", "doc_id": "gone", "score": 1.0},
        {"query": "boots of ann@example.org", "passage": "w", "score": 1.0},
    )
    report = collected(tmp_path, judgments=[str(beir), f"pairs={pairs}"])
    shoes, boots = query_id_of("red shoes"), query_id_of("boots")
    assert {one["query_id"]: one["query"] for one in lines(tmp_path, "queries")} == {
        shoes: "Red Shoes",
        boots: "boots",
    }
    judged = {(one["query_id"], one["doc_id"]): one for one in lines(tmp_path, "judgments")}
    inline = next(doc for query, doc in judged if query == boots)
    assert inline.startswith("text-")
    assert {pair: (one["gain"], one["grade"]) for pair, one in judged.items()} == {
        (shoes, "x"): (1.0, 3),
        (shoes, "z"): (0.0, 0),
        (shoes, "y"): (0.5, 2),  # its words are those of the corpus's y
        (boots, inline): (1.0, 4),
    }
    assert {one["_id"] for one in lines(tmp_path, "corpus")} == {"x", "y", "z", inline}
    assert lines(tmp_path, "refused") == [
        {"file": str(pairs), "line": 4, "reason": "personal data in the query: e-mail"},
        {"file": str(pairs), "line": 3, "reason": "document 'gone' is in no corpus"},
    ]
    assert report["judgments"]["without_a_document"] == 1
    assert report["refused"] == {str(pairs): 2}
    assert "1 judged pairs are dropped" in report["said"]
    assert not (tmp_path / "collect" / "clicks.npz").exists()
    assert report["figures"]["judgments"] == 4


def test_a_damaged_line_of_the_queries(tmp_path: Path) -> None:
    texts = {"1": "a", "2": "b"}
    beir = a_beir_folder(tmp_path / "set", texts, {"1": {"x": 1}, "2": {"y": 1}}, DOCUMENTS)
    path = beir / "queries.jsonl"
    good, _ = path.read_text().splitlines()
    path.write_text(f'{good}\n{{"_id": "2", "te')
    collected(tmp_path, judgments=[str(beir)])
    damaged, unknown = lines(tmp_path, "refused")
    assert (damaged["file"], damaged["line"]) == (str(path), 2)
    assert damaged["reason"].startswith(
        "not valid JSON: Unterminated string starting at character 14"
    )
    assert "line 1 column" not in damaged["reason"]
    assert "query '2' is not in queries.jsonl (1 rows of it are refused" in unknown["reason"]
    path.write_text("{\n" * 2)
    with pytest.raises(
        InputFileError, match=r"queries\.jsonl \(2 rows .* the first line 1: not val"
    ):
        collected(tmp_path, judgments=[str(beir)])


def test_several_labels_of_a_pair(tmp_path: Path) -> None:
    rows = [{"query": q, "passage": "w", "label": label} for q, label in
            [("a", 0), ("a", 2), ("a", 2), ("b", 1), ("b", 0), ("c", 2)]]  # fmt: skip
    report = collected(tmp_path, judgments=[str(write_json_lines(tmp_path / "r.jsonl", *rows))])
    grades = {one["query_id"]: one["grade"] for one in lines(tmp_path, "judgments")}
    assert grades == {query_id_of("a"): 2, query_id_of("b"): 1, query_id_of("c"): 2}
    assert report["judgments"]["labelled_by_several"] == 2
    assert "too low to build on" in report["said"]


def test_names_of_grades_and_those_that_are_not_known(tmp_path: Path) -> None:
    path = write_json_lines(
        tmp_path / "law.jsonl",
        {"query": "合同", "passage": "甲", "label": "直接相关"},
        {"query": "合同", "passage": "乙", "label": "间接相关"},
        {"query": "合同", "passage": "丙", "label": "可能"},
    )
    collected(tmp_path, judgments=[str(path)])
    assert [one["gain"] for one in lines(tmp_path, "judgments")] == [1.0, 0.5]
    (refused,) = lines(tmp_path, "refused")
    assert (refused["line"], "collect.grade_names" in refused["reason"]) == (3, True)
    collected(tmp_path, judgments=[str(path)], grade_names=["可能", "间接相关", "直接相关"])
    assert [one["gain"] for one in lines(tmp_path, "judgments")] == [1.0, 0.5, 0.0]
    assert lines(tmp_path, "queries")[0]["language"] == "zh"


def test_a_corpus_and_documents_that_are_other_ones_elsewhere(tmp_path: Path) -> None:
    corpus = a_beir_folder(tmp_path / "all", {}, {}, DOCUMENTS | {"w": "words of w"})
    with (corpus / "corpus.jsonl").open("a") as out:
        out.write('{"_id": "", "text": "t"}\n{"_id": "n"}\n{"_id": "m", "text": 7}\n')
    other = a_beir_folder(
        tmp_path / "set", {"1": "a"}, {"1": {"x": 1, "y": 1}}, {"x": "else", "y": "words of y"}
    )
    report = collected(tmp_path, judgments=[f"{other}:train"], corpus=str(corpus))
    assert [one["doc_id"] for one in lines(tmp_path, "judgments")] == ["y"]
    assert [one["_id"] for one in lines(tmp_path, "corpus")] == ["x", "y", "z", "w"]
    reasons = [(Path(one["file"]).name, one["reason"]) for one in lines(tmp_path, "refused")]
    assert [name for name, _ in reasons] == ["corpus.jsonl"] * 4 + ["train.tsv"]
    assert report["documents"]["by_file"] == {
        str(corpus / "corpus.jsonl"): 4,
        str(other / "corpus.jsonl"): 0,
    }
    wanted = ("no document", "without a title", "text: no text", "other words", "another one")
    assert all(part in reason for part, (_, reason) in zip(wanted, reasons, strict=True))
    with pytest.raises(InputFileError, match=r"collect\.corpus names the documents"):
        collected(tmp_path, judgments=[f"{other}:train"], corpus=str(tmp_path / "none"))


def test_a_corpus_and_documents_beside_it(tmp_path: Path) -> None:
    """One rule: all of both, and of an id that both have the corpus's."""
    corpus = a_beir_folder(tmp_path / "all", {}, {}, {"x": "words of x"}) / "corpus.jsonl"
    set_of_two = a_beir_folder(tmp_path / "set", {"1": "a"}, {"1": {"x": 1, "y": 1}}, DOCUMENTS)
    report = collected(tmp_path, judgments=[str(set_of_two)], corpus=str(corpus))
    assert [one["_id"] for one in lines(tmp_path, "corpus")] == ["x", "y", "z"]
    beside = set_of_two / "corpus.jsonl"
    assert report["documents"]["by_file"] == {str(corpus): 1, str(beside): 2}
    assert f"first that has an id counts: 1 of {corpus}, 2 of {beside}" in report["said"]
    report = collected(tmp_path, judgments=[str(set_of_two)], corpus=str(set_of_two))
    assert report["documents"]["by_file"] == {str(beside): 3}
    assert "several files" not in report["said"]


def rolled(folder: Path) -> Path:
    """The log of a sidecar: query 1 twice with one click, query 2 by a bot, and a copy of all."""
    impressions = [
        an_impression(1, query="Größe"),
        an_impression(2, query="ＧＲÖẞＥ ", session="other"),
        *(
            an_impression(10 + n, query="bot", session="b07", answered=NOON + 60 + n / 10)
            for n in range(40)
        ),
        an_impression(3, query="ring 555-867-5309", session="third"),
    ]
    journal = Journal(folder)
    journal.write([to_row(one) for one in impressions], [submitted(an_event("a", 1, "d1"))])
    journal.close()
    roll(folder, NOON + 40 * HOUR)
    return folder


def test_a_feedback_log(tmp_path: Path) -> None:
    folder = rolled(tmp_path / "feedback")
    corpus = a_beir_folder(tmp_path / "docs", {}, {}, {"d0": "a", "d1": "b"})
    report = collected(
        tmp_path, {"collection": "things"}, feedback=[str(folder)], corpus=str(corpus)
    )
    log = read_clicks(tmp_path / "collect" / "clicks.npz")
    assert log.query_names == (query_id_of("größe"),)
    assert log.impressions == 2
    assert log.clicks.sum() == 1
    assert [log.document_names[d] for d in log.documents[0]] == ["d0", "d1", "d2"]
    (query,) = lines(tmp_path, "queries")
    assert query["query"] in ("Größe", "ＧＲÖẞＥ")
    assert query["frequency"] == 2
    assert report["log"]["left_out"] == {
        "personal data in the query: telephone": 1,
        "bot: asks too fast": 40,
    }
    assert report["documents"]["shown_but_not_known"] == 1
    assert "left out: 40 impressions: bot: asks too fast" in report["said"]


def test_a_log_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    one = str(rolled(tmp_path / "one"))
    report = collected(tmp_path, feedback=[one, one])
    assert report["log"]["impressions"] == 2
    assert report["log"]["left_out"]["impressions that are there twice"] == 43
    assert report["log"]["left_out"]["events that are there twice"] == 1


def test_json_lines_with_refusals(tmp_path: Path) -> None:
    path = write_json_lines(
        tmp_path / "log.jsonl",
        {"query": "a", "shown": ["x"], "clicked": [1], "impression_id": "1"},
        {"query": "a", "shown": ["x", "x"]},
        {"query": "a", "shown": ["x"], "clicked": [1], "impression_id": "1"},
        {"query": "a", "shown": ["x"], "time": "noon"},
    )
    report = collected(tmp_path, feedback=[str(path)])
    assert [(one["line"], one["reason"]) for one in lines(tmp_path, "refused")] == [
        (2, "shown: a document twice"),
        (4, "time: 'noon' is no number"),
    ]
    assert report["log"]["left_out"] == {"impressions that are there twice": 1}
    assert report["log"]["clicks"] == 1
    write_json_lines(path, {"query": 7})
    with pytest.raises(InputFileError, match="no line of it is an impression"):
        collected(tmp_path, feedback=[str(path)])


def test_the_same_query_is_in_one_split_wherever_it_comes_from(tmp_path: Path) -> None:
    texts = [f"query number {n}" for n in range(300)]
    pairs = write_json_lines(
        tmp_path / "p.jsonl", *({"query": t, "passage": "w", "score": 1} for t in texts)
    )
    log = write_json_lines(
        tmp_path / "log.jsonl", *({"query": t.upper(), "shown": ["x"]} for t in texts)
    )
    collected(tmp_path / "one", judgments=[str(pairs)])
    report = collected(tmp_path / "other", feedback=[str(log)])
    splits = [
        {one["query_id"]: one["split"] for one in lines(tmp_path / run, "queries")}
        for run in ("one", "other")
    ]
    assert splits[0] == splits[1]
    assert sum(report["queries"]["by_split"].values()) == 300
    assert report["queries"]["by_split"]["test"] == pytest.approx(60, abs=25)


def test_what_is_made_up_is_marked(tmp_path: Path) -> None:
    made = a_beir_folder(
        tmp_path / "made",
        {"synthetic-1": "a", "synthetic-2": "b"},
        {"synthetic-1": {"x": 1, "y": 0}, "synthetic-2": {"x": 1}},
        DOCUMENTS,
    )
    real = write_json_lines(tmp_path / "p.jsonl", {"query": "B", "doc_id": "x", "score": 0})
    report = collected(tmp_path, judgments=[str(made), str(real)])
    queries = {one["query"].lower(): one for one in lines(tmp_path, "queries")}
    assert queries["a"]["query_id"].startswith("synthetic-")
    assert queries["a"]["synthetic"]
    assert not queries["b"]["synthetic"]
    sources = {
        (one["query_id"], one["doc_id"]): (one["source"], one["grade"])
        for one in lines(tmp_path, "judgments")
    }
    assert sources == {
        (queries["a"]["query_id"], "x"): ("synthetic", 1),
        (queries["a"]["query_id"], "y"): ("synthetic", 0),
        (queries["b"]["query_id"], "x"): ("judged", 0),  # somebody's label, not the made one
    }
    assert "1 of 2 queries are SYNTHETIC" in report["said"]
    report = collected(tmp_path, judgments=[str(real), str(made)], synthetic=True)
    assert report["queries"]["synthetic"] == 2


def test_documents_are_asked_of_the_sidecar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Client:
        def __init__(self, address: str, collection: str, timeout_seconds: float) -> None:
            assert (address, collection) == ("here:1", "things")

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def documents(self, doc_ids: list[str]) -> list[dict[str, str]]:
            asked.extend(doc_ids)
            return [{"_id": d, "title": "T", "text": d} for d in doc_ids if d != "gone"]

    monkeypatch.setattr(collect, "SidecarClient", Client)
    log = write_json_lines(
        tmp_path / "log.jsonl",
        {"query": "a", "shown": ["x", "p"]},
        {"query": "a", "shown": ["gone"]},
    )
    pairs = write_json_lines(
        tmp_path / "p.jsonl",
        {"query": "a", "passage": {"_id": "p", "text": "own"}, "score": 1},
        {"query": "a", "doc_id": "q", "score": 1},
    )
    sidecar = {"address": "here:1", "collection": "things"}
    report = collected(tmp_path, sidecar, feedback=[str(log)], judgments=[str(pairs)])
    assert asked == ["x", "gone", "q"]
    assert {one["_id"]: one["text"] for one in lines(tmp_path, "corpus")} == {
        "p": "own",
        "x": "x",
        "q": "q",
    }
    assert report["documents"]["from_the_sidecar"] == 2
    assert "1 of 3 documents in the log are not known" in report["said"]


def test_the_same_input_gives_the_same_files(tmp_path: Path) -> None:
    folder, made = rolled(tmp_path / "feedback"), []
    for run in ("one", "other"):
        collected(tmp_path / run, feedback=[str(folder)])
        out = tmp_path / run / "collect"
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    assert np.load(tmp_path / "one" / "collect" / "clicks.npz")["clicks"].any()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"query": "ann@example.org", "passage": "w", "score": 1}], "personal data"),
        ([{"query": "q", "passage": "w", "score": "perhaps"}], "none of the grades"),
    ],
)
def test_files_of_which_nothing_is_left(
    tmp_path: Path, rows: list[dict[str, Any]], reason: str
) -> None:
    path = write_json_lines(tmp_path / "p.jsonl", *rows)
    with pytest.raises(InputFileError, match=reason):
        collected(tmp_path, judgments=[str(path)])


@pytest.fixture
def half_lost(tmp_path: Path) -> str:
    """Of four judged pairs two have documents; one of the others is judged twice."""
    qrels = {"1": {"x": 1, "gone": 1}, "2": {"y": 1}}
    folder = a_beir_folder(tmp_path / "set", {"1": "a", "2": "b"}, qrels, DOCUMENTS)
    with (folder / "qrels" / "train.tsv").open("a") as out:
        out.write("\n1\tgone\t0\n2\tlost\t0\n")
    return str(folder)


def test_judgments_without_documents_are_listed(tmp_path: Path, half_lost: str) -> None:
    report = collected(tmp_path, judgments=[half_lost])
    path = f"{half_lost}/qrels/train.tsv"
    assert [(one["file"], one["line"], one["reason"]) for one in lines(tmp_path, "refused")] == [
        (path, 3, "document 'gone' is in no corpus"),
        (path, 5, "document 'gone' is in no corpus"),
        (path, 6, "document 'lost' is in no corpus"),
    ]
    assert report["judgments"]["without_a_document"] == 2  # pairs
    assert report["figures"]["refused"] == 3  # rows
    assert "2 judged pairs are dropped: no corpus has their documents" in report["said"]


def test_too_many_judgments_without_documents(tmp_path: Path, half_lost: str) -> None:
    with pytest.raises(ConfigurationError) as stopped:
        collected(tmp_path, judgments=[half_lost], most_lost_share=0.49)
    for part in (
        "2 of 4 judged pairs name documents that no corpus has, the first in",
        f"{half_lost}/qrels/train.tsv, line 3: 'gone'",
        f"{tmp_path}/collect/refused.jsonl lists all",
        "Give collect.corpus",
        "collect.most_lost_share = 1.0",
    ):
        assert part in stopped.value.message
    assert len(lines(tmp_path, "refused")) == 3


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_no_judgment_has_a_document(tmp_path: Path, share: float) -> None:
    gone = write_json_lines(tmp_path / "p.jsonl", {"query": "q", "doc_id": "gone", "score": 1})
    with pytest.raises(ConfigurationError, match="1 of 1 judged pairs"):
        collected(tmp_path, judgments=[str(gone)], most_lost_share=share)
    log = write_json_lines(tmp_path / "log.jsonl", {"query": "a", "shown": ["x"]})
    both = {"judgments": [str(gone)], "feedback": [str(log)], "most_lost_share": share}
    if share == 1.0:
        assert collected(tmp_path, **both)["figures"]["judgments"] == 0
    else:
        with pytest.raises(ConfigurationError):
            collected(tmp_path, **both)
