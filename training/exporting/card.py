"""The model card of an exported folder: README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.models.spec import ModelSpec

_KINDS = {
    "bi-encoder": "text to a vector",
    "cross-encoder": "(query, passage) to a logit",
}


def card_of(
    spec: ModelSpec,
    name: str,
    lineage: Mapping[str, Any],
    measures: Sequence[tuple[str, float]],
    storage: str,
) -> str:
    """`measures`: (what, value) on the dev queries; `storage`: a sentence about the weights."""
    parts = [
        _front_matter(spec),
        f"# {name}\n\nA {spec.kind}, {_KINDS[spec.kind]}, for the search sidecar.",
        f"## What it was trained on\n\nIt starts from {_base(spec)}.\n\n{_rows(lineage.items())}",
        f"## Reading\n\n{_rows(_reading(spec))}",
        f"## Storage\n\n{storage}",
        f"## Figures on dev queries\n\n{_rows((what, f'{value:.4f}') for what, value in measures)}",
        f"## Licence\n\n{spec.licence or 'That of its base: see there.'}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(spec: ModelSpec) -> str:
    """What hubs and other readers look for."""
    lines = [
        f"license: {spec.licence.lower()}" if spec.licence else "",
        *(["language:", *(f"- {each}" for each in spec.languages)] if spec.languages else []),
        "pipeline_tag: "
        + ("text-ranking" if spec.kind == "cross-encoder" else "sentence-similarity"),
    ]
    return "\n".join(["---", *filter(None, lines), "---"])


def _base(spec: ModelSpec) -> str:
    return f"{spec.base} ({spec.base_revision})" if spec.base_revision else spec.base


def _reading(spec: ModelSpec) -> list[tuple[str, Any]]:
    prefixes = [spec.query_prefix, spec.passage_prefix]
    told = [
        ("query, passage tokens", f"{spec.query_tokens}, {spec.passage_tokens}"),
        ("all tokens", spec.max_tokens),
        ("head", spec.head),
    ]
    if spec.kind == "bi-encoder":
        told += [
            ("pooling", spec.pooling),
            ("prefixes", repr(prefixes) if any(prefixes) else "none"),
        ]
    if spec.template:
        told += [("prompt, sha256", spec.template_digest)]
    return told


def _rows(told: Any) -> str:
    rows = [f"| {what} | {value} |" for what, value in told]
    return "\n".join(["| | |", "|---|---|", *rows])
