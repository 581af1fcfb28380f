"""The passages of documents: out of the run's corpus.jsonl, or asked from the sidecar by id."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sidecar.bounded_cache import BoundedCache
from sidecar.evaluation.beir import parse_object, text_of
from sidecar.types import to_passage
from training.serving.client import SidecarClient

ASKED_BYTES = 256 * 1024 * 1024  # of passages that came from the sidecar, kept


class Passages:
    """Keeps where each line of the corpus begins, not its text. `client` None: no sidecar runs."""

    def __init__(self, corpus: Path, client: SidecarClient | None = None) -> None:
        """`corpus`: a corpus.jsonl. Raises InputFileError."""
        self._path = corpus
        self._client = client
        self._lines = _places_of_lines(corpus)
        self._asked: BoundedCache[str, str] = BoundedCache(ASKED_BYTES)
        self.doc_ids = sorted(self._lines)

    def of(self, doc_ids: Iterable[str]) -> dict[str, str]:
        """The passages of those that exist and have any text, in the order asked."""
        wanted = list(dict.fromkeys(doc_ids))
        known = self._read([doc_id for doc_id in wanted if doc_id in self._lines])
        known |= self._ask([doc_id for doc_id in wanted if doc_id not in self._lines])
        return {doc_id: known[doc_id] for doc_id in wanted if known.get(doc_id)}

    def prefetch(self, doc_ids: Iterable[str]) -> None:
        """Asks for those that the corpus does not have, so that `of` finds them at hand."""
        self._ask([doc_id for doc_id in dict.fromkeys(doc_ids) if doc_id not in self._lines])

    def _read(self, doc_ids: list[str]) -> dict[str, str]:
        passages = {}
        with self._path.open("rb") as file:
            for doc_id in sorted(doc_ids, key=lambda each: self._lines[each][1]):
                number, offset = self._lines[doc_id]
                file.seek(offset)
                record = parse_object(self._path, number, file.readline())
                passages[doc_id] = _passage_of(record, self._path, number)
        return passages

    def _ask(self, doc_ids: list[str]) -> dict[str, str]:
        """What only the sidecar knows, asked once as far as it is kept; "" of what it lacks."""
        if self._client is None:
            return {}
        found = {doc_id: self._asked.get(doc_id) for doc_id in doc_ids}
        new = [doc_id for doc_id, passage in found.items() if passage is None]
        asked = dict.fromkeys(new, "")
        for row in self._client.documents(new):
            asked[row["_id"]] = to_passage([row["title"], row["text"]])
        for doc_id, passage in asked.items():
            self._asked.put(doc_id, passage, len(doc_id) + 4 * len(passage))
        return {doc_id: passage for doc_id, passage in found.items() if passage is not None} | asked


def _places_of_lines(corpus: Path) -> dict[str, tuple[int, int]]:
    """Document id -> (number of its line, where it begins)."""
    places, offset = {}, 0
    with corpus.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                record = parse_object(corpus, number, line)
                doc_id = text_of(record, "_id", corpus, number, required=True)
                places[doc_id] = number, offset
            offset += len(line)
    return places


def _passage_of(record: dict[str, Any], path: Path, line: int) -> str:
    texts = [text_of(record, key, path, line, required=False) for key in ("title", "text")]
    return to_passage(texts)
