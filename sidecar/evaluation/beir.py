"""Reads a folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv.

Every error is an InputFileError that names the file and the line. Layout: Thakur et al., BEIR,
2021.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import InputFileError
from sidecar.types import Document


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """The judged queries of one split. `qrels`: query id -> doc_id -> relevance."""

    name: str
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their line numbers, from 1; blank lines are left out."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, parse_object(path, number, line)
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be read: {error.strerror}") from error


def parse_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The JSON object on one line."""
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputFileError(str(path), number, f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg} at character {error.pos + 1}"
        raise InputFileError(str(path), number, message) from error
    if not isinstance(record, dict):
        raise InputFileError(str(path), number, "give one JSON object a line")
    return record


def text_of(record: dict[str, Any], key: str, path: Path, line: int, required: bool) -> str:
    """The string under `key`, "" where it is absent and not required."""
    value = record.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value):
        got = "missing or empty" if not value else f"a {type(value).__name__}"
        raise InputFileError(str(path), line, f'"{key}" is {got}: give a string')
    return value


def read_corpus(folder: Path) -> Iterator[tuple[int, Document]]:
    """The documents of corpus.jsonl (fields "title" and "text") with their line numbers."""
    path = folder / "corpus.jsonl"
    for line, record in read_jsonl(path):
        doc_id = text_of(record, "_id", path, line, required=True)
        fields = {key: text_of(record, key, path, line, required=False) for key in _FIELDS}
        yield line, Document(doc_id=doc_id, fields=fields)


_FIELDS = ("title", "text")


def read_judged_set(folder: Path, split: str, limit: int | None = None) -> JudgedSet:
    """The queries of qrels/<split>.tsv, in their order in queries.jsonl, at most `limit`."""
    qrels = _read_qrels(folder / "qrels" / f"{split}.tsv")
    queries = {}
    path = folder / "queries.jsonl"
    for line, record in read_jsonl(path):
        query_id = text_of(record, "_id", path, line, required=True)
        if query_id in qrels:
            queries[query_id] = text_of(record, "text", path, line, required=True)
    _check_all_known(qrels, queries, path, split)
    chosen = list(queries)[:limit]
    return JudgedSet(
        folder.resolve().name,
        {query_id: queries[query_id] for query_id in chosen},
        {query_id: qrels[query_id] for query_id in chosen},
    )


def _check_all_known(
    qrels: dict[str, dict[str, int]], queries: dict[str, str], path: Path, split: str
) -> None:
    unknown = [query_id for query_id in qrels if query_id not in queries]
    if unknown:
        message = f"{len(unknown)} queries of qrels/{split}.tsv are missing, first {unknown[0]!r}"
        raise InputFileError(str(path), None, message)


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        splits = ", ".join(sorted(p.stem for p in path.parent.glob("*.tsv"))) or "none"
        message = f"cannot be read: {error.strerror} (splits there: {splits})"
        raise InputFileError(str(path), None, message) from error
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip() and not (number == 1 and line.startswith("query-id")):
            query_id, doc_id, relevance = _parse_judgment(path, number, line)
            qrels.setdefault(query_id, {})[doc_id] = relevance
    if not qrels:
        raise InputFileError(str(path), None, "holds no judgment")
    return qrels


def _parse_judgment(path: Path, number: int, line: str) -> tuple[str, str, int]:
    columns = line.split("\t")
    try:
        query_id, doc_id, relevance = columns
        return query_id, doc_id, int(relevance)
    except ValueError as error:
        message = "give query-id, corpus-id and a whole number, separated by tabs"
        raise InputFileError(str(path), number, message) from error
