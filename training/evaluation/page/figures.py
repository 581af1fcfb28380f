"""The parts of the page that show what was measured: numbers, intervals, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.page.html import (
    DASH,
    Markup,
    element,
    joined,
    number,
    p_value,
    percent,
    signed,
    table,
)
from training.evaluation.page.plots import (
    Interval,
    difference_plot,
    interval_plot,
)

SYSTEMS = {
    "bm25": "BM25",
    "zero_shot": "zero-shot",
    "production": "production",
    "beside": "production + new bi-encoder",
    "candidate": "candidate",
}
STAGES = {
    "lexical": "lexical leg",
    "dense": "dense leg",
    "fused": "what recall finds, fused",
    "first_rerank": "after the first-stage reranker",
    "second_rerank": "at the end, as users see it",
    "rerank_only": "the model alone, over what production recalls",
}


def verdict(metrics: Mapping[str, Any]) -> Markup:
    """One sentence, coloured by what it says."""
    told = str(metrics["sentence"]).replace("->", "→")
    return element("p", told, class_=f"verdict {_tone(_against_production(metrics))}")


def cards(metrics: Mapping[str, Any]) -> Markup:
    """The few figures that a reader in a hurry wants."""
    made, latency, told = (
        _against_production(metrics),
        metrics["latency"],
        metrics["queries"],
    )
    change = percent(made["difference"] / made["production"]) if made["production"] else DASH
    queries = f"{number(made['better'])} better, {number(made['worse'])} worse"
    facts = [
        (
            metrics["measure"],
            f"{number(made['candidate'])}",
            f"production {number(made['production'])}",
        ),
        ("change", change, f"95 %: {signed(made['low'])} to {signed(made['high'])}"),
        ("p, two-sided", p_value(made["p"]), f"{number(made['detectable'])} would have been seen"),
        ("queries", number(made["queries"]), queries),
        ("judged by", told["origin"], f"{number(told['judgments'])} of {told['name']}"),
    ]
    if latency:
        before, after = (latency[name]["p99"] for name in ("production", "candidate"))
        facts.append(
            (
                "p99, one request at a time",
                f"{number(after, 1)} ms",
                f"production {number(before, 1)} ms",
            )
        )
    return element("ul", *(_card(*fact) for fact in facts), class_="cards")


def before_and_after(metrics: Mapping[str, Any]) -> Markup:
    """Production, candidate, absolute and relative change, by stage and measure."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for row in metrics["before_after"]:
        stages.setdefault(row["stage"], []).append(row)
    parts = [element("p", _judged_where(metrics))]
    for stage, rows in stages.items():
        compared = metrics["stages"].get(stage, {})
        if stage != metrics["stage"] and not any(row["absolute"] for row in rows):
            parts.append(
                element("p", f"{_sentence_case(STAGES.get(stage, stage))}: nothing changes.")
            )
            continue
        head = ("measure", "production", "candidate", "change", "relative", "95 % interval", "p")
        lines = [_change_row(row, compared.get(row["measure"])) for row in rows]
        parts.append(table(_sentence_case(STAGES.get(stage, stage)), head, lines))
    parts.append(
        element(
            "p",
            "p of the paired randomisation test, of each line alone; only the first line of the "
            "judged stage decides. Intervals: BCa bootstrap over queries.",
        )
    )
    return joined(parts)


def systems(metrics: Mapping[str, Any]) -> Markup:
    """Every system by every measure, with intervals: at the judged stage, with a plot of the
    primary measure; at the end, and the model alone."""
    stage = metrics["stage"]
    others = (each for each in ("second_rerank", "rerank_only") if each != stage)
    return joined(
        (
            _systems_at(metrics, stage),
            _systems_plot(metrics, stage),
            *(_systems_at(metrics, each) for each in others),
        )
    )


def _systems_at(metrics: Mapping[str, Any], stage: str) -> Markup | None:
    shown = _shown_at(metrics, stage)
    if "candidate" not in shown:
        return None
    measures = list(shown["candidate"])
    best = {one: max(found[one]["mean"] for found in shown.values()) for one in measures}
    rows = [
        (SYSTEMS.get(name, name), *(_mean_cell(found[one], best[one]) for one in measures))
        for name, found in shown.items()
    ]
    bm25 = "; BM25 is the lexical leg" if "bm25" in shown else ""
    caption = f"{_sentence_case(STAGES.get(stage, stage))}{bm25}"
    return table(caption, ("system", *measures), rows)


def _systems_plot(metrics: Mapping[str, Any], stage: str) -> Markup:
    measure, against = metrics["measure"], metrics["comparisons"]
    rows = [
        Interval(
            SYSTEMS.get(name, name),
            found[measure]["mean"],
            found[measure]["low"],
            found[measure]["high"],
            f"candidate {signed(against[name]['difference'])}, p {p_value(against[name]['p'])}"
            if name in against
            else "",
        )
        for name, found in _shown_at(metrics, stage).items()
    ]
    told = "Means with 95 % intervals; at the right what the candidate has more, and its p."
    return interval_plot(rows, f"{measure} of every system.", told, around_zero=False)


def _shown_at(metrics: Mapping[str, Any], stage: str) -> dict[str, Mapping[str, Any]]:
    """Systems that have the stage; beside the judged one also BM25, which has one of its own."""
    found = metrics["systems"]
    own = {"bm25": found["bm25"]["lexical"]} if stage == metrics["stage"] else {}
    return own | {name: one[stage] for name, one in found.items() if stage in one}


def slices(metrics: Mapping[str, Any]) -> Markup | None:
    """The differences in parts of the queries."""
    found = metrics["slices"]
    if not found:
        return None
    rows = [
        Interval(
            name,
            made["difference"],
            made["low"],
            made["high"],
            f"{number(made['queries'])} queries, p {p_value(made['p'])}",
            made["p"] < 0.05,
        )
        for name, made in found.items()
    ]
    told = (
        f"Candidate less production in {metrics['measure']}, with 95 % intervals. Right of the "
        "line is better. Filled: p < 0.05 after Holm's correction over the slices."
    )
    return interval_plot(rows, "Differences by slice.", told)


def differences(metrics: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Every query's difference, sorted."""
    made = _against_production(metrics)
    same = made["queries"] - made["better"] - made["worse"]
    told = (
        f"{number(made['better'])} queries are better, {number(same)} the same, "
        f"{number(made['worse'])} worse, by {metrics['measure']}; the largest gain is at the left."
    )
    each = [float(row["difference"]) for row in rows]
    return difference_plot(each, "Candidate less production, query by query.", told)


def _against_production(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    made: Mapping[str, Any] = metrics["comparisons"]["production"]
    return made


def _tone(made: Mapping[str, Any]) -> str:
    if made["p"] >= 0.05 or not made["difference"]:
        return "unsure"
    return "better" if made["difference"] > 0 else "worse"


def _judged_where(metrics: Mapping[str, Any]) -> str:
    if metrics["stage"] == "fused":
        return (
            "A bi-encoder is judged by the fused ranking, which is what it changes; what is left "
            "of it after the rerankers is below."
        )
    return "A reranker is judged by the ranking at the end, which is what users see."


def _change_row(row: Mapping[str, Any], made: Mapping[str, Any] | None) -> list[object]:
    tone = _tone(made) if made else None
    return [
        row["measure"],
        number(row["before"]),
        number(row["after"]),
        element("span", signed(row["absolute"]), class_=tone),
        percent(row["relative"]),
        f"{signed(made['low'])} to {signed(made['high'])}" if made else DASH,
        p_value(made["p"]) if made else DASH,
    ]


def _mean_cell(found: Mapping[str, Any], best: float) -> Markup:
    kind = "best" if found["mean"] == best else None
    between = f"{number(found['low'], 3)}–{number(found['high'], 3)}"
    return element(
        "span", element("span", number(found["mean"]), class_=kind), element("small", between)
    )


def _card(what: str, much: str, more: str) -> Markup:
    return element(
        "li",
        element("span", what, class_="what"),
        element("span", much, class_="much"),
        element("span", more, class_="more"),
    )


def _sentence_case(told: str) -> str:
    return told[:1].upper() + told[1:]
