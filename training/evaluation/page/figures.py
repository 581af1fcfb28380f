"""The parts of the page that show what came out: numbers, intervals, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.page.html import (
    DASH,
    Markup,
    definitions,
    element,
    joined,
    markup,
    number,
    p_value,
    percent,
    signed,
    table,
)
from training.evaluation.page.plots import (
    Interval,
    curve_plot,
    difference_plot,
    interval_plot,
    propensity_plot,
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
ESTIMATORS = {"snips": "SNIPS", "doubly_robust": "doubly robust"}


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


def notes(told: Sequence[str]) -> Markup | None:
    """What a reader has to know before believing a figure."""
    return element("ul", *(element("li", each) for each in told), class_="notes") if told else None


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


def off_policy(told: Mapping[str, Any]) -> Markup:
    """What the log says of both rankings, or why it says nothing."""
    parts = [element("p", told["sentence"])]
    if told["estimates"]:
        head = ("estimator", "production", "candidate", "difference", "never shown", "worth")
        rows = [
            (
                ESTIMATORS.get(name, name),
                _bounded(three["production"]),
                _bounded(three["candidate"]),
                _bounded(three["difference"], signed),
                f"{three['candidate']['unsupported']:.1%}",
                f"{number(round(three['candidate']['effective_impressions']))} impressions",
            )
            for name, three in told["estimates"].items()
        ]
        caption = (
            f"Clicks an impression on the first {told['depth']} ranks, from "
            f"{number(told['impressions'])} impressions of test queries, with 95 % intervals; "
            "never shown: the share of the candidate's ranking that the log knows nothing of; "
            "worth: so many impressions of the candidate itself would tell as much"
        )
        parts.append(table(caption, head, rows))
    return joined(parts)


def training(history: Mapping[str, Any] | None) -> Markup | None:
    """Loss and dev measure by step, and what else the history says."""
    if not history:
        return None
    parts: list[Markup] = []
    if losses := _points(history.get("losses")):
        told = "The mean of the last steps, and each logged step behind it."
        parts.append(curve_plot(losses, "Loss.", told, "train", smooth=max(1, len(losses) // 25)))
    if looks := _points(history.get("looks")):
        base, best = history.get("base"), history.get("best_step")
        level = (float(base), "before training") if base is not None else None
        told = "On the dev queries; the ring is the checkpoint that was kept."
        parts.append(curve_plot(looks, "nDCG@10 on dev.", told, "dev", level, best))
    shares = history.get("shares") or []
    if shares:
        rows = [(f"{float(share):.2f}", number(float(value))) for share, value in shares]
        caption = f"Dev measure by the share of the base's weights; taken: {history.get('share')}"
        parts.append(table(caption, ("share", "nDCG@10"), rows))
    plain = {key: value for key, value in history.items() if isinstance(value, int | float | str)}
    parts.append(
        definitions((key.replace("_", " "), _plain(value)) for key, value in plain.items())
    )
    if changes := history.get("changes"):
        parts.append(notes([str(each) for each in changes]) or markup(""))
    return joined(parts)


def propensities(choice: Any, told: Any) -> Markup | None:
    """How likely each rank is looked at, by which estimator, and whether the log can tell."""
    if not choice:
        return None
    parts: list[Markup | None] = [element("p", f"Estimator: {choice.get('estimator')}.")]
    parts.append(_lines(choice.get("why")))
    ranks = [each for each in (told or {}).get("ranks", []) if each["propensity"] is not None]
    if ranks:
        bounds = [
            None
            if each["lower"] is None or each["upper"] is None
            else (each["lower"], each["upper"])
            for each in ranks
        ]
        said = "With 95 % intervals; hollow where the log does not identify the rank."
        parts.append(
            propensity_plot(
                [each["propensity"] for each in ranks],
                bounds,
                [each["identified"] for each in ranks],
                "Examination by rank.",
                said,
            )
        )
        unsure = [f"rank {each['rank']}: {each['reason']}" for each in ranks if each["reason"]]
        parts.append(notes(unsure))
    return joined(parts)


def _lines(why: Any) -> Markup | None:
    """As they were printed: tables among them keep their columns."""
    return element("pre", "\n".join(map(str, why))) if isinstance(why, list) and why else None


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


def _bounded(found: Mapping[str, Any], told: Any = number) -> Markup:
    between = f"{told(found['low'])} to {told(found['high'])}"
    return element("span", told(found["value"]), element("small", between))


def _card(what: str, much: str, more: str) -> Markup:
    return element(
        "li",
        element("span", what, class_="what"),
        element("span", much, class_="much"),
        element("span", more, class_="more"),
    )


def _points(rows: Any) -> list[tuple[float, float]]:
    if not isinstance(rows, list):
        return []
    return [(float(row[0]), float(row[1])) for row in rows if len(row) == 2 and None not in row]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else number(value)


def _sentence_case(told: str) -> str:
    return told[:1].upper() + told[1:]
