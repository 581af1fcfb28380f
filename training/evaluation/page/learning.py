"""The parts of the page that show what was learnt, and what from: clicks, examination, training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.evaluation.page.html import (
    Markup,
    definitions,
    element,
    joined,
    markup,
    notes,
    number,
    signed,
    table,
)
from training.evaluation.page.plots import curve_plot, propensity_plot

ESTIMATORS = {"snips": "SNIPS", "doubly_robust": "doubly robust"}


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


def _bounded(found: Mapping[str, Any], told: Any = number) -> Markup:
    between = f"{told(found['low'])} to {told(found['high'])}"
    return element("span", told(found["value"]), element("small", between))


def _points(rows: Any) -> list[tuple[float, float]]:
    if not isinstance(rows, list):
        return []
    return [(float(row[0]), float(row[1])) for row in rows if len(row) == 2 and None not in row]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else number(value)
