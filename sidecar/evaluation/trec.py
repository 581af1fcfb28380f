"""TREC run files: one line a hit, `query-id Q0 doc-id rank score tag`.

Format: trec_eval's README. trec_eval orders by score and not by rank, and a stage's scores are not
comparable below its depth, so the score written here is the negated rank: the file means the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sidecar.errors import InputFileError


def write_run(path: Path, run: Mapping[str, Sequence[str]], tag: str) -> None:
    """Writes rankings (query id -> document ids, best first) to `path`.

    Raises InputFileError where the file cannot be written, or an id holds white space.
    """
    try:
        with path.open("w", encoding="utf-8") as file:
            for query_id, ranking in run.items():
                for rank, doc_id in enumerate(ranking, start=1):
                    _check_id(path, doc_id)
                    file.write(f"{query_id} Q0 {doc_id} {rank} {-rank} {tag}\n")
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be written: {error.strerror}") from error


def _check_id(path: Path, doc_id: str) -> None:
    if doc_id.split() != [doc_id]:
        message = f"id {doc_id!r} holds white space, which a run file cannot carry"
        raise InputFileError(str(path), None, message)
