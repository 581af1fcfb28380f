"""`sidecar evaluate` over a small set whose right answers are known, with the lexical leg alone."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import pytest
from ir_measures import RR, R, nDCG
from sidecar_process import WITHOUT_MODELS, run_sidecar

from sidecar.commands.evaluate import _counted_as

TEXTS = {
    "d1": "a lamp for the desk",
    "d2": "three rivers meet in the valley",
    "d3": "the river and the valley of the lamp",
    "d4": "nothing of interest",
}
QUERIES = {"q1": "desk lamp", "q2": "rivers", "q3": "interest"}
QRELS = {"q1": {"d1": 2, "d3": 1}, "q2": {"d3": 1}, "q3": {"d1": 1}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "lamps"
    (path / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": name, "text": text}) for name, text in TEXTS.items()]
    (path / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": name, "text": text}) for name, text in QUERIES.items()]
    (path / "queries.jsonl").write_text("\n".join(lines))
    rows = [f"{q}\t{d}\t{r}" for q, judged in QRELS.items() for d, r in judged.items()]
    (path / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]))
    (tmp_path / "sidecar.toml").write_text(WITHOUT_MODELS)
    return path


def evaluate(folder: Path, *options: str | Path):
    done = run_sidecar(
        *("evaluate", folder, "--config", folder.parent / "sidecar.toml", *options),
        XDG_CACHE_HOME=str(folder.parent / "cache"),
    )
    assert done.returncode == 0, done.stderr
    return done


def test_json_agrees_with_ir_measures_on_the_run_file(folder: Path) -> None:
    runs = folder.parent / "runs"
    report = json.loads(evaluate(folder, "--json", "--runs", runs, "--baseline").stdout)
    assert (report["set"], report["queries"], report["documents"]) == ("lamps", 3, 4)
    assert (report["split"], report["analyzer"]) == ("test", "english")
    for stage in ("lexical", "fused", "second_rerank"):
        run = ir_measures.read_trec_run(str(runs / f"{stage}.trec"))
        figures = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10, R @ 100], QRELS, run)
        expected = {
            str(measure): pytest.approx(value, abs=1e-5) for measure, value in figures.items()
        }
        assert report["stages"][stage] == expected
    assert report["stages"]["lexical"]["R@100"] == pytest.approx(2 / 3, abs=1e-5)
    assert report["stages"]["dense"] == {"nDCG@10": 0.0, "RR@10": 0.0, "R@100": 0.0}
    assert set(report["baseline"]) == {"rank_bm25"}


def test_the_table_says_what_did_not_run(folder: Path) -> None:
    out = evaluate(folder, "--limit", "2").stdout
    assert out.startswith("lamps: 2 queries (test), 4 documents, english analyzer\n")
    assert "dense: skipped (not configured) for 2 queries, counted as an empty ranking" in out
    assert "second_rerank: skipped (not configured) for 2 queries, counted with the ranking" in out


def test_a_kept_index_is_used_again_and_a_changed_corpus_is_not(folder: Path) -> None:
    data = folder.parent / "data"
    first = json.loads(evaluate(folder, "--json", "--data", data).stdout)
    again = json.loads(evaluate(folder, "--json", "--data", data).stdout)
    assert again["stages"] == first["stages"]
    assert len(list((data / "collections").iterdir())) == 1
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('\n{"_id": "d5", "text": "interest"}')
    changed = json.loads(evaluate(folder, "--json", "--data", data).stdout)
    assert changed["documents"] == 5
    assert len(list((data / "collections").iterdir())) == 2


def test_a_partial_stage_is_counted_as_far_as_it_came() -> None:
    assert _counted_as("first_rerank", "PARTIAL") == ", counted as far as it came"
    assert "the stage before" in _counted_as("first_rerank", "FAILED")
    assert "empty" in _counted_as("dense", "SKIPPED")
