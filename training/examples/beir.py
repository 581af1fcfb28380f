"""A folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv.

Layout: Thakur, Reimers, Rücklé, Srivastava, Gurevych, "BEIR" (NeurIPS 2021 Datasets and
Benchmarks). Queries whose ids begin with "synthetic-", or that say "synthetic": true, are made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidecar.errors import InputFileError
from training.examples.base import Example, Passage
from training.examples.file_kinds import read_rows
from training.examples.refusals import Refusals
from training.queries import SYNTHETIC

_SPLIT = "train"


def is_beir(folder: Path) -> bool:
    """By its files."""
    return (folder / "queries.jsonl").is_file() and (folder / "qrels").is_dir()


def qrels_of(folder: Path, split: str) -> Path:
    """The file of a split; "" is train, or the only one. Raises InputFileError."""
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    wanted = split or (splits[0] if len(splits) == 1 else _SPLIT)
    if wanted not in splits:
        there = ", ".join(splits) or "none"
        raise InputFileError(str(folder), None, f"no qrels/{wanted}.tsv; splits there: {there}")
    return folder / "qrels" / f"{wanted}.tsv"


def read_beir(qrels: Path, refusals: Refusals) -> Iterator[Example]:
    """The judgments of a split's file. Raises InputFileError."""
    path = qrels.parents[1] / "queries.jsonl"
    queries = _queries(path, refusals)
    missing = f"is not in {path.name}{refusals.told_of(path)}"
    for number, cells in _lines(qrels):
        if number == 1 and cells[0] == "query-id":
            continue
        reason, label = _wrong(cells, queries, missing)
        if reason:
            refusals.refuse(qrels, number, reason)
        else:
            text, synthetic = queries[cells[0]]
            yield Example(number, text, Passage(doc_id=cells[1]), label, synthetic)


def _queries(path: Path, refusals: Refusals) -> dict[str, tuple[str, bool]]:
    """Text, and whether it is made up, by id."""
    queries = {}
    for line, row in read_rows(path, refusals.refusing(path)):
        query_id, text = row.get("_id"), row.get("text")
        if isinstance(query_id, str | int) and isinstance(text, str) and text.strip():
            queries[str(query_id)] = text, _is_synthetic(str(query_id), row)
        else:
            refusals.refuse(path, line, 'no query: {"_id": "...", "text": "..."}')
    return queries


def _is_synthetic(query_id: str, row: dict[str, Any]) -> bool:
    return query_id.startswith(SYNTHETIC) or row.get("synthetic") is True


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(str(path), None, f"cannot be read: {error}") from error


def _wrong(
    cells: list[str], queries: dict[str, tuple[str, bool]], missing: str
) -> tuple[str, float]:
    """(why the line is no judgment, or "", its label); `missing`: what is said of a query that is
    not there."""
    if len(cells) != 3 or not cells[1]:
        return "give query-id, corpus-id and score, separated by tabs", 0.0
    if cells[0] not in queries:
        return f"query {cells[0]!r} {missing}", 0.0
    try:
        label = float(cells[2])
    except ValueError:
        return f"score {cells[2]!r} is no number", 0.0
    return ("", label) if abs(label) < float("inf") else (f"score {cells[2]} is none", 0.0)
