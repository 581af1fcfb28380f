"""The documents of a run: corpus.jsonl in BEIR layout, and what examples name their passages by.

A passage whose words are those of a document is that document, whoever wrote it down: else mining
could take a positive for a negative. Other passages without an id are documents of their own, under
a digest of their words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sidecar.errors import InputFileError
from sidecar.evaluation.beir import read_jsonl, text_of
from sidecar.types import to_passage
from training.examples.base import Passage
from training.examples.file_kinds import read_rows
from training.examples.refusals import Refusals
from training.examples.trec import COLLECTION, read_collection

INLINE = "text-"  # begins the ids of passages that files have without one


class DocumentFile:
    """Writes corpus.jsonl: each document once. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._out = path.open("w", encoding="utf-8")
        self._digests: dict[str, bytes] = {}  # by id
        self._ids: dict[bytes, str] = {}  # by the digest of the words, the first that has them

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self._digests

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, doc_id: str, title: str, text: str) -> str:
        """Why not, "" if it was added or is there already."""
        digest = digest_of(title, text)
        known = self._digests.get(doc_id)
        if known is not None:
            return "" if known == digest else f"document {doc_id!r} is there with other words"
        self._digests[doc_id] = digest
        self._ids.setdefault(digest, doc_id)
        row = {"_id": doc_id, "title": title, "text": text}
        self._out.write(json.dumps(row, ensure_ascii=False) + "\n")
        return ""

    def add_passage(self, passage: Passage) -> tuple[str, str]:
        """(its id, why it is not there or ""): of an example's passage, written if it is new."""
        if not passage.is_inline:
            return passage.doc_id, ""
        digest = digest_of(passage.title, passage.text)
        doc_id = passage.doc_id or self._ids.get(digest) or f"{INLINE}{digest.hex()}"
        return doc_id, self.add(doc_id, passage.title, passage.text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._out.close()


def digest_of(title: str, text: str) -> bytes:
    """Of the passage that models read, white space joined."""
    words = " ".join(to_passage([title, text]).split())
    return hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).digest()


def read_documents(path: Path, refusals: Refusals) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines and documents of a corpus.jsonl, or of a collection.tsv ("id TAB text")."""
    if path.name == COLLECTION:
        yield from read_collection(path, refusals)
        return
    for line, row in read_rows(path, refusals.refusing(path)):
        reason = _wrong(row)
        if reason:
            refusals.refuse(path, line, reason)
        else:
            text, title = row.get("text") or "", row.get("title") or ""
            yield line, {"_id": str(row["_id"]), "title": title, "text": text}


def corpus_path(given: str) -> Path:
    """The file of collect.corpus: itself, or corpus.jsonl in the folder. Raises InputFileError."""
    path = Path(given)
    found = path / "corpus.jsonl" if path.is_dir() else path
    if not found.is_file():
        raise InputFileError(str(found), None, "is not there: collect.corpus names the documents")
    return found


def document_ids(path: Path) -> frozenset[str]:
    """Of a corpus.jsonl that collect wrote. Raises InputFileError with the line."""
    return frozenset(text_of(row, "_id", path, line, True) for line, row in read_jsonl(path))


def add_rows(file: DocumentFile, rows: Iterable[Mapping[str, str]]) -> int:
    """Rows in BEIR layout; how many."""
    count = 0
    for row in rows:
        file.add(row["_id"], row["title"], row["text"])
        count += 1
    return count


def _wrong(row: Mapping[str, Any]) -> str:
    """Why a row is no document."""
    if not isinstance(row.get("_id"), str | int) or row["_id"] == "":
        return 'no document: {"_id": "...", "title": "...", "text": "..."}'
    for name in ("title", "text"):
        if not isinstance(row.get(name) or "", str):
            return f"{name}: no text"
    return "" if row.get("title") or row.get("text") else "a document without a title or a text"
