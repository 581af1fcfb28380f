"""A judged set that is made up. It shows that a run works; how well models serve people, it cannot
show: the queries are made of the documents that they look for, by rules.

Ids begin with "synthetic-", and rows say "synthetic": true, so that collect carries the mark on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import InputFileError
from sidecar.evaluation.beir import read_jsonl
from training.queries import SYNTHETIC

Row = Mapping[str, str]  # {"_id", "title", "text"}
_QUERIES = "queries.jsonl"
README = """# SYNTHETIC: made up

Written by `sidecar-train generate`: {about}. A smoke test: figures measured on it say that a run
works, not how well models serve people. Ids begin with "synthetic-", rows say "synthetic": true.
"""


@dataclass(frozen=True, slots=True)
class MadeQuery:
    """`relevances`: grade by document id; 0 for documents that look alike and are not relevant."""

    query_id: str
    text: str
    relevances: Mapping[str, int]

    @property
    def positives(self) -> list[str]:
        """The best first."""
        relevant = [doc_id for doc_id, grade in self.relevances.items() if grade > 0]
        return sorted(relevant, key=lambda doc_id: -self.relevances[doc_id])

    @property
    def negatives(self) -> list[str]:
        """Judged, and not relevant."""
        return [doc_id for doc_id, grade in self.relevances.items() if grade == 0]


def made_id(number: int) -> str:
    """Of a document."""
    return f"{SYNTHETIC}{number:06d}"


def made_prefix(split: str) -> str:
    """Begins the ids of a split's queries."""
    return f"{SYNTHETIC}{split}-"


def check_free(folder: Path, add: bool) -> None:
    """Raises InputFileError for a folder that holds a set, unless the set was made up as well and a
    split is to be added to it."""
    if not any((folder / name).exists() for name in ("corpus.jsonl", _QUERIES, "qrels")):
        return
    if not add:
        message = (
            "holds a set: give another folder, or --add, which writes the split beside those that "
            "are there and replaces one of its name"
        )
        raise InputFileError(str(folder), None, message)
    ids = [row.get("_id") for row in _read_lines(folder / _QUERIES)]
    if not ids or not all(str(query_id).startswith(SYNTHETIC) for query_id in ids):
        message = "holds a set that was not made up: give another folder"
        raise InputFileError(str(folder), None, message)


def write_set(
    folder: Path, documents: Sequence[Row], queries: Sequence[MadeQuery], split: str, about: str
) -> None:
    """In BEIR layout, and as synthetic-samples-SPLIT.jsonl, a query with positives and negatives a
    line. Other splits that are there stay, and share the documents (see `check_free`).

    `about`: what it was made of, for its README. Raises InputFileError for a folder with other
    documents.
    """
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    rows = _with_those_there(folder / "corpus.jsonl", documents)
    _write_lines(folder / "corpus.jsonl", map(_marked, rows.values()))
    others = [
        row
        for row in _read_lines(folder / _QUERIES)
        if not row["_id"].startswith(made_prefix(split))
    ]
    made = [{"_id": one.query_id, "text": one.text, "synthetic": True} for one in queries]
    _write_lines(folder / _QUERIES, [*others, *made])
    qrels = ["query-id\tcorpus-id\tscore"]
    qrels += [f"{q.query_id}\t{d}\t{grade}" for q in queries for d, grade in q.relevances.items()]
    (folder / "qrels" / f"{split}.tsv").write_text("\n".join(qrels) + "\n", encoding="utf-8")
    _write_lines(folder / f"synthetic-samples-{split}.jsonl", _samples(rows, queries))
    (folder / "README.md").write_text(README.format(about=about), encoding="utf-8")


def _marked(row: Row) -> Mapping[str, Any]:
    """Given documents are as they were."""
    return {**row, "synthetic": True} if row["_id"].startswith(SYNTHETIC) else row


def _with_those_there(path: Path, documents: Sequence[Row]) -> dict[str, Row]:
    """By id. Raises InputFileError for another document of the same id."""
    rows: dict[str, Row] = {row["_id"]: row for row in documents}
    for there in _read_lines(path):
        row = {name: there[name] for name in ("_id", "title", "text")}
        if rows.setdefault(row["_id"], row) != row:
            message = "holds other documents: give an empty folder, or the same template and seed"
            raise InputFileError(str(path), None, message)
    return rows


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [row for _, row in read_jsonl(path)]


def _samples(rows: Mapping[str, Row], queries: Iterable[MadeQuery]) -> Iterator[dict[str, Any]]:
    for one in queries:
        yield {
            "query": one.text,
            "positive": [rows[doc_id] for doc_id in one.positives],
            "negatives": [rows[doc_id] for doc_id in one.negatives],
            "synthetic": True,
        }


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
