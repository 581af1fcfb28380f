"""The report page: well-formed, self-contained, and deaf to what queries and documents say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.evaluation.page.html import Markup, element, number, p_value, signed, table, tree
from training.evaluation.page.page import to_page
from training.evaluation.page.plots import (
    Interval,
    Scale,
    curve_plot,
    difference_plot,
    interval_plot,
    propensity_plot,
    round_step,
)

from .pages import read_page

EVIL = "</td></script><script>alert(1)</script><img src=x onerror=alert(2)> & \"q\" 'r'"
MEASURES = ("nDCG@10", "RR@10")


def compared(difference: float = 0.03, p: float = 0.001, queries: int = 120) -> dict:
    return {
        "queries": queries,
        "production": 0.5,
        "candidate": 0.5 + difference,
        "difference": difference,
        "p": p,
        "low": difference - 0.02,
        "high": difference + 0.02,
        "detectable": 0.03,
        "better": 60,
        "worse": 40,
    }


def means(value: float) -> dict:
    return {one: {"mean": value, "low": value - 0.03, "high": value + 0.03} for one in MEASURES}


def metrics_of(model: str = "reranker", text: str = "plain", **changed: object) -> dict:
    """As the stage writes them, every name and note `text`."""
    stage = "second_rerank" if model == "reranker" else "fused"
    three = {
        name: {
            "value": 0.4,
            "low": 0.3,
            "high": 0.5,
            "effective_impressions": 812.0,
            "unsupported": 0.1,
        }
        for name in ("production", "candidate", "difference")
    }
    told = {
        "model": model,
        "role": "second_reranker",
        "measure": "nDCG@10",
        "stage": stage,
        "sentence": f"The candidate is better than production: {text}.",
        "queries": {"name": text, "origin": "clicks", "count": 120, "judgments": 300},
        "notes": [text, "second"],
        "models": {"production": {"second_rerank": text}, "candidate": {}},
        "systems": {
            "bm25": {"lexical": means(0.4)},
            "production": {stage: means(0.5)},
            "candidate": {stage: means(0.53)},
        },
        "comparisons": {"bm25": compared(0.13), "production": compared()},
        "stages": {stage: {one: compared() for one in MEASURES}},
        "slices": {text: compared(-0.01, 0.4, 40), "tail": compared(0.05, 0.01, 80)},
        "before_after": [
            {
                "stage": stage,
                "measure": one,
                "before": 0.5,
                "after": 0.53,
                "absolute": 0.03,
                "relative": 0.06,
            }
            for one in MEASURES
        ],
        "off_policy": {
            "sentence": text,
            "estimates": {"snips": three, "doubly_robust": three},
            "impressions": 4000,
            "depth": 10,
        },
        "latency": {
            "requests": 200,
            "production": {"p50": 20.1, "p99": 31.0},
            "candidate": {"p50": 20.3, "p99": 30.2},
        },
        "parity": {"pairs": 200, "rank_correlation": 0.9997, "measure_difference": -0.0001},
    }
    return told | changed


def error_of(text: str) -> dict:
    return {
        "query_id": "q1",
        "query": text,
        "production": 1.0,
        "candidate": 0.2,
        "difference": -0.8,
        "reason": "near duplicate first",
        "reasons": ["near duplicate first"],
        "explanation": text,
        "positives": [
            {
                "doc_id": text,
                "grade": 3,
                "production_rank": 1,
                "candidate_rank": None,
                "recall_rank": 4,
            }
        ],
        "top1": {"doc_id": text, "grade": None, "passage": text},
        "score_gap": 1.5,
        "synthetic": True,
    }


def folders_of(tmp_path: Path, text: str) -> dict[str, Path]:
    sure = {"identified": True, "reason": ""}
    unsure = {"identified": False, "reason": text}
    files = {
        "collect/report.json": {"words": [text * 3], "log": {text: 5, "share": 0.25}},
        "label/report.json": {"grades": {"1": 10}, "none": None, "sure": True, "list": [1, 2.5]},
        "propensity/choice.json": {"estimator": "pbm", "why": [text]},
        "propensity/identifiability.json": {
            "ranks": [
                {"rank": 1, "propensity": 1.0, "lower": 0.9, "upper": 1.1} | sure,
                {"rank": 2, "propensity": 0.6, "lower": None, "upper": None} | sure,
                {"rank": 3, "propensity": 0.4, "lower": 0.1, "upper": 0.9} | unsure,
                {"rank": 4, "propensity": None, "lower": None, "upper": None} | unsure,
            ]
        },
        "reranker/train/history.json": {
            "base": 0.6,
            "looks": [[1, 0.61], [2, 0.66]],
            "losses": [[step, 1.0 / step] for step in range(1, 90)],
            "best_step": 2,
            "shares": [[0.0, 0.66]],
            "share": 0.0,
            "changes": [text],
            "precision": text,
        },
        "reranker/train/manifest.json": {
            "key": "0" * 32,
            "seed": 0,
            "code": {"version": "0.1", "commit": text},
            "began": "2026-01-01T00:00:00+00:00",
            "seconds": 12.0,
        },
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    return {
        place: tmp_path / place for place in ("collect", "label", "propensity", "reranker/train")
    }


@pytest.mark.parametrize("model", ["reranker", "bi_encoder"])
@pytest.mark.parametrize("text", ["plain", EVIL, "灯 ランプ \u202e\x00\ud800"])
def test_the_page_is_well_formed_and_loads_nothing(tmp_path: Path, model: str, text: str) -> None:
    rows = [{"difference": each / 100} for each in range(-40, 60)]
    written = to_page(
        metrics_of(model, text), rows, [error_of(text)] * 3, folders_of(tmp_path, text)
    )
    page = read_page(written)
    assert page.faults == []
    assert page.outside == []
    assert page.scripts == 1
    assert "img" not in page.tags
    shown = text.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert page.text.count(shown) >= (10 if model == "reranker" else 4)
    assert written.encode()
    assert written.startswith("<!doctype html>\n<html lang=")
    assert page.tags.count("h1") == 1
    figures, described = page.tags.count("figure"), page.tags.count("desc")
    assert figures == described == (6 if model == "reranker" else 4)


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    bare = metrics_of(
        slices={},
        latency=None,
        parity=None,
        off_policy={"sentence": "no log", "estimates": {}, "impressions": 0, "depth": 0},
    )
    page = read_page(to_page(bare, [{"difference": 0.0}], [], {}))
    assert page.faults == page.outside == []
    assert "no log" in page.text
    for absent in ("For whom", "Speed and export", "Worst queries", "How it was trained"):
        assert absent not in page.text


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "<b>", Markup("<i></i>"), class_='"x"', title=None) == (
        '<p class="&quot;x&quot;">&lt;b&gt;<i></i></p>'
    )
    assert "&lt;b&gt;" in table("<b>", ("<b>",), [("<b>", "<b>")])
    assert "<b>" not in table("<b>", ("<b>",), [("<b>", "<b>")]) + tree({"<b>": ["<b>"] * 20})
    assert isinstance(element("p"), Markup)


def test_numbers_are_for_people() -> None:
    assert number(12345) == "12,345"
    assert number(1.0) == "1.0000"
    assert number(0.51239) == "0.5124"
    assert number(float("nan")) == number(None) == "–"
    assert signed(-0.00001) == signed(0.0) == "0.0000"
    assert signed(0.03) == "+0.0300"
    assert signed(-0.03) == "−0.0300"
    assert p_value(0.0001) == "< 0.001"
    assert p_value(0.04) == "0.040"


def test_scales_have_round_ticks_inside() -> None:
    for least, most in ((-0.03, 0.11), (0.0, 1.0), (0.0, 2326.0), (-1e-6, 1e-6), (0.5, 0.5)):
        scale = Scale(least, most, 0.0, 100.0)
        ticks = list(scale.ticks())
        assert len(ticks) <= 12
        assert all(least - 1e-9 <= tick <= most + 1e-9 for tick in ticks)
        assert 0.0 <= scale.at(least) <= scale.at(most) <= 100.0
    assert [round_step(width) for width in (0.03, 0.3, 0.7, 120.0)] == pytest.approx(
        [0.05, 0.5, 1.0, 200.0]
    )


def test_plots_stand_on_the_edges() -> None:
    nothing = difference_plot([], "t", "d"), difference_plot([0.0, 0.0], "t", "d")
    one = interval_plot([Interval("a", 0.1, None, None)], "t", "d")
    flat = curve_plot([(1.0, 0.5), (2.0, 0.5)], "t", "d", "dev")
    ranks = propensity_plot([1.0], [None], [True], "t", "d")
    for drawn in (*nothing, one, flat, ranks):
        page = read_page(f"<html><body>{drawn}</body></html>")
        assert page.faults == []
        assert "nan" not in drawn
        assert "inf" not in drawn


def test_better_and_worse_areas_hold_as_many_steps_as_queries() -> None:
    drawn = difference_plot([0.5, -0.25, 0.25, 0.0], "t", "d")
    better, worse = (part.split('d="')[1].split('"')[0] for part in drawn.split("<path")[1:])
    assert better.count("H") == 2
    assert worse.count("H") == 1
