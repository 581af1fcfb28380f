"""The stage over a small shop and carried models: what it writes agrees with ir-measures, and the
page shows it."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import pytest
from ir_measures import AP, RR, P, R, Success, nDCG

from training.evaluation.evidence import read_evidence
from training.lists import Split, read_lists
from training.stages import evaluate, gate

from .evaluated import (
    config_of,
    work_of,
    write_export,
    write_history,
    write_log,
    write_shop,
)
from .pages import read_page

HOSTILE = "red faucet <script>alert('x')</script> & \"more\" <img src=//evil.example/a.png>"
NAMES = {
    "nDCG@10": nDCG @ 10,
    "RR@10": RR @ 10,
    "AP": AP,
    "R@100": R @ 100,
    "P@10": P @ 10,
    "Hit@1": Success @ 1,
}
QUICK = ("evaluate.latency_requests=4", "evaluate.worst_queries=6", "evaluate.rerank_depth=12")


@pytest.fixture(scope="module")
def reranked(tmp_path_factory: pytest.TempPathFactory):
    """The large carried reranker in place of the small one, over the lexical leg."""
    root = tmp_path_factory.mktemp("reranked")
    inputs = write_shop(root, HOSTILE)
    write_log(inputs)
    inputs["reranker/export"] = write_export(root / "reranker" / "export", "pair-minilm-l6")
    inputs["reranker/train"] = write_history(root / "reranker" / "train")
    models = {"bi_encoder": "", "first_reranker": "", "second_reranker": "pair-minilm-l3"}
    config = config_of(root, models, *QUICK, "reranker.base=pair-minilm-l6")
    work = work_of(root, config, "reranker", inputs)
    return work, evaluate.run(work)


def rankings(work, system: str) -> dict[str, dict[str, list[str]]]:
    told = json.loads((work.scratch / "rankings" / f"{system}.json").read_text())
    return told["rankings"]


def test_every_mean_is_that_of_ir_measures_on_the_rankings(reranked) -> None:
    work, _ = reranked
    metrics = json.loads((work.out / "metrics.json").read_text())
    lists = read_lists(work.input("label") / "lists.jsonl", Split.TEST)
    qrels = {one.query_id: dict(one.judged) for one in lists}
    for system in ("production", "candidate", "zero_shot"):
        for stage in ("lexical", "fused", "second_rerank"):
            run = {
                query: {doc_id: float(-rank) for rank, doc_id in enumerate(one)}
                for query, one in rankings(work, system)[stage].items()
            }
            expected = ir_measures.calc_aggregate(NAMES.values(), qrels, run)
            told = metrics["systems"][system][stage]
            assert 0.3 < told["nDCG@10"]["mean"] < 1.0
            for name, measure in NAMES.items():
                assert told[name]["mean"] == pytest.approx(expected[measure], abs=1e-9)
    bm25 = metrics["systems"]["bm25"]["lexical"]["nDCG@10"]
    assert bm25 == metrics["systems"]["production"]["lexical"]["nDCG@10"]


def test_the_last_stage_decides_and_what_decides_is_what_the_gate_sees(reranked) -> None:
    work, figures = reranked
    metrics = json.loads((work.out / "metrics.json").read_text())
    evidence = read_evidence(work.out / "evidence.json")
    made = metrics["comparisons"]["production"]
    assert (metrics["stage"], metrics["measure"]) == ("second_rerank", "nDCG@10")
    assert sum(evidence.candidate.values()) / 24 == pytest.approx(made["candidate"])
    assert figures["candidate"] == round(made["candidate"], 4)
    assert figures["queries"] == 24
    assert evidence.parity is not None
    assert evidence.parity.pairs == 200
    assert evidence.latency is not None
    assert 0 < evidence.latency.candidate_milliseconds < 10_000
    assert set(evidence.also) == {"last", "recall"}
    assert evidence.beside is None
    assert set(evidence.slices) == {"head", "tail", "4-6 words"}
    assert metrics["slices"]["head"]["queries"] == len(evidence.slices["head"]) == 12
    assert "clicks" in metrics["queries"]["origin"]


def test_the_model_alone_ranks_what_production_recalls_and_nothing_else(reranked) -> None:
    work, _ = reranked
    recalled = rankings(work, "production")["fused"]
    kept = work.scratch / "rankings"
    for system in ("production", "candidate"):
        scores = json.loads((kept / f"{system}-alone.json").read_text())
        for query, found in scores.items():
            assert set(found) == set(recalled[query][:12])


def test_every_query_and_the_worst_ones_are_told(reranked) -> None:
    work, _ = reranked
    rows = [json.loads(line) for line in (work.out / "per_query.jsonl").read_text().splitlines()]
    assert len(rows) == 24
    metrics = json.loads((work.out / "metrics.json").read_text())
    mean = sum(row["difference"] for row in rows) / 24
    assert mean == pytest.approx(metrics["comparisons"]["production"]["difference"], abs=1e-5)
    assert {name for row in rows for name in row["slices"]} == {"head", "tail", "4-6 words"}
    errors = [json.loads(line) for line in (work.out / "errors.jsonl").read_text().splitlines()]
    differences = {row["query_id"]: row["difference"] for row in rows}
    for row in errors:
        assert row["difference"] == pytest.approx(differences[row["query_id"]], abs=1e-4)
        assert row["explanation"]
        assert row["positives"][0]["grade"] == 3


def test_the_page_shows_the_query_and_runs_nothing_of_it(reranked) -> None:
    work, _ = reranked
    page = read_page((work.out / "report.html").read_text())
    metrics = json.loads((work.out / "metrics.json").read_text())
    assert page.faults == []
    assert page.outside == []
    assert page.scripts == 1
    assert metrics["sentence"].replace("->", "→") in page.text
    assert "nDCG@10 on dev." in page.text


def test_a_stage_that_was_cut_short_ranks_nothing_twice(reranked, monkeypatch) -> None:
    work, figures = reranked

    def never(*_):
        raise AssertionError("ranked again")

    monkeypatch.setattr(evaluate, "timed_servers", never)
    monkeypatch.setattr("training.evaluation.systems.run_queries", never)
    assert evaluate.run(work) == figures


def test_what_users_clicked_is_told_of_both(reranked) -> None:
    work, _ = reranked
    told = json.loads((work.out / "metrics.json").read_text())["off_policy"]
    assert (told["impressions"], told["depth"]) == (1200, 5)
    for three in told["estimates"].values():
        assert three["production"]["low"] < three["production"]["value"] < 3.0
        assert set(three) == {"production", "candidate", "difference"}
    page = read_page((work.out / "report.html").read_text())
    assert told["sentence"] in page.text


def test_the_gate_judges_it(reranked, tmp_path: Path) -> None:
    work, _ = reranked
    config = work.config
    inputs = {"reranker/evaluate": work.out, "reranker/export": work.input("export")}
    told = gate.run(work_of(tmp_path, config, "reranker", inputs, "gate"))
    verdict = json.loads((tmp_path / "reranker" / "gate" / "verdict.json").read_text())
    assert told["verdict"] == verdict["verdict"]
    assert {check["name"] for check in verdict["checks"]} >= {"primary", "latency", "parity"}


def test_a_bi_encoder_is_judged_by_the_fused_ranking(tmp_path: Path) -> None:
    """The same model again: nothing changes, and no difference is found."""
    inputs = write_shop(tmp_path)
    inputs["bi_encoder/export"] = write_export(
        tmp_path / "bi_encoder" / "export", "all-minilm-l6-v2"
    )
    inputs["bi_encoder/train"] = write_history(tmp_path / "bi_encoder" / "train")
    models = {"bi_encoder": "all-minilm-l6-v2", "first_reranker": "", "second_reranker": ""}
    config = config_of(tmp_path, models, "evaluate.latency_requests=0", "evaluate.rerank_depth=12")
    work = work_of(tmp_path, config, "bi_encoder", inputs)
    evaluate.run(work)
    metrics = json.loads((work.out / "metrics.json").read_text())
    made = metrics["comparisons"]["production"]
    assert metrics["stage"] == "fused"
    assert made["production"] > 0.5
    assert (made["difference"], made["p"]) == (0.0, 1.0)
    assert metrics["latency"] is None
    assert metrics["sentence"].startswith("The candidate does as well as production on each of 24")
    assert "zero-shot is production" in " ".join(metrics["notes"])
    kept = list((tmp_path / "indexes").glob("corpus-*/all-minilm-l6-v2-*"))
    assert len(kept) == 1
