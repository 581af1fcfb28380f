"""What collect says of a run's input: counts, and sentences for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.examples.judgments import Agreement, Judgment
from training.examples.refusals import Refusals
from training.lists import Source
from training.queries import KnownQuery

_LOW_ALPHA = 0.667  # Krippendorff: below it not even tentative conclusions


@dataclass(frozen=True, slots=True)
class Collected:
    """`dropped`: judged pairs whose documents are not known; `by_file`: documents that each file
    had and none before it; `shown`: documents of the log, of which `shown_unknown` are not known.
    """

    queries: Sequence[KnownQuery]
    judgments: Sequence[Judgment]
    agreement: Agreement
    scales: Mapping[str, str]
    dropped: int
    documents: int
    by_file: Mapping[str, int]
    asked: int
    shown: int
    shown_unknown: int


def to_report(found: Collected, refusals: Refusals, log: dict[str, Any] | None) -> dict[str, Any]:
    """Plain values; "words" is a list of sentences."""
    return {
        "log": log,
        "queries": {
            "all": len(found.queries),
            "by_split": dict(Counter(one.split.value for one in found.queries)),
            "by_language": dict(Counter(one.language for one in found.queries)),
            "synthetic": _synthetic(found),
        },
        "judgments": {
            "pairs": len(found.judgments),
            "synthetic": sum(one.source is Source.SYNTHETIC for one in found.judgments),
            "scales": dict(found.scales),
            "labelled_by_several": found.agreement.pairs,
            "krippendorff_alpha": found.agreement.alpha,
            "without_a_document": found.dropped,
        },
        "documents": {
            "known": found.documents,
            "by_file": dict(found.by_file),
            "from_the_sidecar": found.asked,
            "shown": found.shown,
            "shown_but_not_known": found.shown_unknown,
        },
        "refused": dict(refusals.rows),
        "words": list(_words(found, refusals, log)),
    }


def _synthetic(found: Collected) -> int:
    return sum(one.synthetic for one in found.queries)


def _words(found: Collected, refusals: Refusals, log: dict[str, Any] | None) -> Iterator[str]:
    made = _synthetic(found)
    if made:
        yield (
            f"{made} of {len(found.queries)} queries are SYNTHETIC: what comes out tells that the "
            "run works, not how well models serve people"
        )
    for reason, count in (log or {}).get("left_out", {}).items():
        yield f"left out: {count} {_as_counted(reason)}"
    for file, count in refusals.rows.items():
        yield f"{file}: {count} rows refused, the first {refusals.first[file]}"
    alpha = found.agreement.alpha
    if alpha is not None:
        low = ", too low to build on: look at how people judge" if alpha < _LOW_ALPHA else ""
        yield f"{found.agreement.pairs} pairs have several labels: alpha {alpha:.3f}{low}"
    if len(found.by_file) > 1:
        files = ", ".join(f"{count} of {file}" for file, count in found.by_file.items())
        yield f"documents come from several files, the first that has an id counts: {files}"
    if found.dropped:
        yield f"{found.dropped} judged pairs are dropped: no corpus has their documents"
    if found.shown_unknown:
        yield (
            f"{found.shown_unknown} of {found.shown} documents in the log are not known (deleted "
            "since, or of another collection): their pairs get no label"
        )


def _as_counted(reason: str) -> str:
    """Reasons that name no thing are of impressions."""
    own = reason.startswith(("events", "impressions", "hits"))
    return reason if own else f"impressions: {reason}"
