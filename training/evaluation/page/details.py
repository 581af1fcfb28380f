"""The parts of the page that one looks things up in: worst queries, speed, sources, lineage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.page.html import (
    DASH,
    Markup,
    definitions,
    element,
    joined,
    number,
    signed,
    table,
    tree,
)


def worst(errors: Sequence[Mapping[str, Any]], measure: str) -> Markup | None:
    """Each query opens to its documents and to what went wrong."""
    if not errors:
        return None
    counted = Counter(str(row["reason"]) for row in errors)
    told = ", ".join(f"{reason} ({count})" for reason, count in counted.most_common())
    field = element(
        "label",
        "Show those with ",
        element("input", id="filter", type="search", autocomplete="off"),
        class_="filter",
        hidden="hidden",
    )
    return joined(
        (
            element(
                "p",
                f"{len(errors)} queries: first those that lose most against production, then those "
                f"with the lowest {measure}. Most often: {told}. All of it is in errors.jsonl.",
            ),
            field,
            *(_query(row, measure) for row in errors),
        )
    )


def speed(metrics: Mapping[str, Any]) -> Markup | None:
    """Latency of both, and whether what was exported scores as what was trained."""
    parts = []
    if latency := metrics["latency"]:
        rows = [
            (name, number(latency[name]["p50"], 1), number(latency[name]["p99"], 1))
            for name in ("production", "candidate")
        ]
        caption = (
            f"Milliseconds of {number(latency['requests'])} searches one at a time, the two "
            "sidecars in turn, caches off, each request's shortest of several"
        )
        parts.append(table(caption, ("", "p50", "p99"), rows))
    if parity := metrics["parity"]:
        told = [
            ("pairs scored by both", number(parity["pairs"])),
            ("rank correlation", number(parity["rank_correlation"])),
            (f"{metrics['measure']}, served less trained", signed(parity["measure_difference"])),
        ]
        parts += [element("h3", "Exported against trained"), definitions(told)]
    return joined(parts) if parts else None


def sources(reports: Mapping[str, Any]) -> Markup | None:
    """What collect and label say of what they read."""
    if not reports:
        return None
    return joined(joined((element("h3", name), tree(report))) for name, report in reports.items())


def lineage(manifests: Mapping[str, Any], metrics: Mapping[str, Any]) -> Markup | None:
    """The stages that this came from: when, by which code, from what; and the models measured."""
    head = ("stage", "key", "code", "seed", "began", "seconds")
    rows = [
        (
            place,
            str(found.get("key", ""))[:12],
            _code(found.get("code")),
            str(found.get("seed", DASH)),
            str(found.get("began", DASH))[:19],
            number(found.get("seconds"), 0),
        )
        for place, found in manifests.items()
    ]
    models = [
        (name, ", ".join(f"{stage}: {model}" for stage, model in told.items()) or DASH)
        for name, told in metrics["models"].items()
    ]
    return joined(
        (
            table("Stages of this run; the same key gives the same outcome", head, rows, 9)
            if rows
            else None,
            element("h3", "Models that were measured"),
            definitions(models),
        )
    )


def _query(row: Mapping[str, Any], measure: str) -> Markup:
    tone = "worse" if row["difference"] < 0 else "better" if row["difference"] > 0 else None
    made_up = element("span", "synthetic", class_="tag") if row.get("synthetic") else None
    summary = element(
        "summary",
        element("span", row["query"], class_="query"),
        made_up,
        element("span", row["reason"], class_="why"),
        element("span", signed(row["difference"], 3), class_=f"number {tone or ''}".strip()),
    )
    values = f"{measure} {number(row['production'])} → {number(row['candidate'])}"
    return element(
        "details",
        summary,
        element(
            "div",
            element("p", f"{row['explanation']} {values}."),
            _top(row),
            _positives(row["positives"]),
            class_="inside",
        ),
    )


def _top(row: Mapping[str, Any]) -> Markup | None:
    top = row["top1"]
    if top is None:
        return None
    grade = "not judged" if top["grade"] is None else f"grade {top['grade']}"
    gap = row["score_gap"]
    scored = "" if gap is None else f", scored {signed(gap, 3)} against the best relevant one"
    return joined(
        (
            element("p", element("strong", f"First: {top['doc_id']}"), f" ({grade}{scored})"),
            element("p", top["passage"], class_="passage"),
        )
    )


def _positives(positives: Sequence[Mapping[str, Any]]) -> Markup | None:
    if not positives:
        return None
    head = ("relevant document", "grade", "recalled at", "production", "candidate")
    rows = [
        (
            each["doc_id"],
            str(each["grade"]),
            *(_rank(each[f"{name}_rank"]) for name in ("recall", "production", "candidate")),
        )
        for each in positives
    ]
    return table("Ranks of the relevant documents", head, rows)


def _rank(rank: int | None) -> str:
    return DASH if rank is None else str(rank)


def _code(told: Any) -> str:
    if not isinstance(told, dict):
        return DASH
    return " ".join(str(told[name]) for name in ("version", "commit") if told.get(name))
