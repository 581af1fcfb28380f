"""TREC judgments: qrels lines of four columns, and queries beside them.

    qrels.txt, qrels, *.qrels, qrels*.txt    query-id 0 doc-id label
    queries.tsv, topics.tsv                  query-id TAB text (queries.jsonl as in BEIR)
    corpus.jsonl, collection.tsv             the documents, if they are there

Format: https://trec.nist.gov/data/qrels_eng/. The place named is the folder, or the qrels file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sidecar.errors import InputFileError
from training.examples.base import Example, Passage
from training.examples.file_kinds import read_rows
from training.examples.refusals import Refusals
from training.queries import SYNTHETIC

_QUERIES = ("queries.tsv", "topics.tsv", "queries.jsonl")
_QRELS = ("qrels.txt", "qrels", "*.qrels", "qrels*.txt", "qrels*.tsv")
COLLECTION = "collection.tsv"


def is_trec(path: Path) -> bool:
    """By four columns of the first line, and queries beside them."""
    found = qrels_at(path)
    return found.is_file() and _queries_beside(found) is not None and _has_four_columns(found)


def qrels_at(path: Path) -> Path:
    """The file itself; in a folder the first that is called as qrels are."""
    if not path.is_dir():
        return path
    found = (one for pattern in _QRELS for one in sorted(path.glob(pattern)) if one.is_file())
    return next(found, path / _QRELS[0])


def read_trec(qrels: Path, refusals: Refusals) -> Iterator[Example]:
    """The judgments. Raises InputFileError."""
    beside = _queries_beside(qrels)
    if beside is None:
        message = f"qrels need queries beside them ({', '.join(_QUERIES)})"
        raise InputFileError(str(qrels), None, message)
    queries = _queries(beside, refusals)
    missing = f"is not in {beside.name}{refusals.told_of(beside)}"
    for number, line in _lines(qrels):
        cells = line.split()
        reason = _wrong(cells, queries, missing)
        if reason:
            refusals.refuse(qrels, number, reason)
        else:
            synthetic = cells[0].startswith(SYNTHETIC)
            passage = Passage(doc_id=cells[2])
            yield Example(number, queries[cells[0]], passage, float(cells[3]), synthetic)


def read_collection(path: Path, refusals: Refusals) -> Iterator[tuple[int, dict[str, str]]]:
    """Documents of "id TAB text" lines, as BEIR has them."""
    for number, line in _lines(path):
        doc_id, tab, text = line.partition("\t")
        if tab and doc_id and text.strip():
            yield number, {"_id": doc_id, "title": "", "text": text.strip()}
        else:
            refusals.refuse(path, number, "give an id and a text, separated by a tab")


def _queries_beside(qrels: Path) -> Path | None:
    paths = (qrels.parent / name for name in _QUERIES)
    return next((path for path in paths if path.is_file()), None)


def _has_four_columns(path: Path) -> bool:
    return len(next((line for _, line in _lines(path)), "").split()) == 4


def _queries(path: Path, refusals: Refusals) -> dict[str, str]:
    if path.suffix == ".jsonl":
        rows = read_rows(path, refusals.refusing(path))
        return {str(row.get("_id")): str(row.get("text", "")) for _, row in rows}
    queries = {}
    for number, line in _lines(path):
        query_id, tab, text = line.partition("\t")
        if tab and text.strip():
            queries[query_id] = text.strip()
        else:
            refusals.refuse(path, number, "give a query id and a text, separated by a tab")
    return queries


def _wrong(cells: list[str], queries: dict[str, str], missing: str) -> str:
    if len(cells) != 4:
        return "give query-id, 0, doc-id and label, separated by spaces"
    if cells[0] not in queries:
        return f"query {cells[0]!r} {missing}"
    try:
        int(cells[3])
    except ValueError:
        return f"label {cells[3]!r} is no whole number"
    return ""


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(str(path), None, f"cannot be read: {error}") from error
