"""Puts the report together: what changed first, then why it may be believed, then where it fails.

metrics, values by query, worst queries, the folders of the run's stages -> report.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.evaluation.page import details, figures, learning
from training.evaluation.page.html import Markup, element, joined, markup, notes
from training.evaluation.page.style import SCRIPT, STYLE

Section = tuple[str, str, Markup | None]  # anchor, title, content; None: there is nothing to say
NAMES = {"bi_encoder": "bi-encoder", "reranker": "reranker"}
# Nothing is loaded from anywhere, whatever a query or a document says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def write_page(
    path: Path,
    metrics: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Path],
) -> None:
    """`inputs`: folders of finished stages by place, from which the rest is read as far as it is
    there: how it was trained, propensities, what went in, manifests."""
    path.write_text(to_page(metrics, rows, errors, inputs), encoding="utf-8")


def to_page(
    metrics: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Path],
) -> str:
    """The page as text."""
    model = str(metrics["model"])
    training = _read(inputs.get(f"{model}/train"), "history.json")
    propensity = inputs.get("propensity")
    sections: list[Section] = [
        ("change", "Before and after", figures.before_and_after(metrics)),
        ("systems", "Every system", figures.systems(metrics)),
        ("slices", "For whom", figures.slices(metrics)),
        ("queries", "Query by query", figures.differences(metrics, rows)),
        ("clicks", "What clicks say", learning.off_policy(metrics["off_policy"])),
        ("speed", "Speed and export", details.speed(metrics)),
        ("worst", "Worst queries", details.worst(errors, str(metrics["measure"]))),
        ("training", "How it was trained", learning.training(training)),
        (
            "ranks",
            "How ranks are looked at",
            learning.propensities(
                _read(propensity, "choice.json"),
                _read(propensity, "identifiability.json"),
            ),
        ),
        ("sources", "What went in", details.sources(_reports(inputs))),
        ("lineage", "Lineage", details.lineage(_manifests(inputs), metrics)),
    ]
    shown = [each for each in sections if each[2] is not None]
    title = f"Evaluation of the {NAMES.get(model, model)}"
    body = element(
        "body",
        element("a", "To the report", href="#main", class_="skip"),
        element(
            "header",
            element("div", "search sidecar: training report", class_="over"),
            element("h1", title),
            figures.verdict(metrics),
            figures.cards(metrics),
            notes(metrics["notes"]),
            _contents(shown),
        ),
        element(
            "main",
            *(
                element("section", element("h2", name), content, id=anchor)
                for anchor, name, content in shown
            ),
            id="main",
        ),
        element("footer", "One file, nothing is loaded from elsewhere. It prints as it is."),
        element("script", Markup(SCRIPT)),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _contents(sections: Iterable[Section]) -> Markup:
    links = (element("li", element("a", name, href=f"#{anchor}")) for anchor, name, _ in sections)
    return element("nav", element("ol", joined(links)), aria_label=markup("Contents"))


def _reports(inputs: Mapping[str, Path]) -> dict[str, Any]:
    found = {name: _read(inputs.get(name), "report.json") for name in ("collect", "label")}
    return {name: report for name, report in found.items() if report}


def _manifests(inputs: Mapping[str, Path]) -> dict[str, Any]:
    found = {place: _read(folder, "manifest.json") for place, folder in inputs.items()}
    return {place: manifest for place, manifest in found.items() if manifest}


def _read(folder: Path | None, name: str) -> Any:
    """The JSON of a file, None where there is none: a report says what is known."""
    if folder is None or not (folder / name).is_file():
        return None
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except ValueError:
        return None
