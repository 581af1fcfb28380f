"""The texts that go with the hits of a search: fields as stored, and fragments of them."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.pipeline.deadline import Deadline
from sidecar.recall.collection import Collection
from sidecar.recall.highlights import Highlighter
from sidecar.service.messages.highlights import Highlights, from_fragments
from sidecar.service.messages.ranking import Fields
from sidecar.service.messages.search import CollectionQuery

# Of a ranking that took all the time there was, hits get highlights for so long.
LEAST_SECONDS = 0.02


class HitTexts:
    """Those of one request, whose rankings have most hits in common: fragments are kept."""

    def __init__(self, collection: Collection, search: CollectionQuery, deadline: Deadline) -> None:
        self._collection = collection
        self._search = search
        self._deadline = deadline
        self._is_stopped = False
        self._highlighter: Highlighter | None = None

    @property
    def asked_by(self) -> str:
        """The field of the request that asks for texts; empty: none does."""
        if self._search.return_fields:
            return "return_fields"
        return "highlighting" if self._search.highlighting is not None else ""

    def read(self, doc_ids: Sequence[str]) -> tuple[Fields, Highlights]:
        """The texts of documents, as they are stored now, by doc_id. Blocks; one call at a time."""
        stored = self._collection.fields(doc_ids)
        fields = {
            doc_id: {name: texts.get(name, "") for name in self._search.return_fields}
            for doc_id, texts in stored.items()
        }
        return fields, self._highlights(doc_ids, stored)

    def stop(self) -> None:
        """Nobody waits for them any more."""
        self._is_stopped = True

    def _highlights(self, doc_ids: Sequence[str], stored: Fields) -> Highlights:
        """Of the first hits, as many as there is time for."""
        search = self._search
        if search.highlighting is None:
            return {}
        if self._highlighter is None:
            schema = self._collection.schema
            self._highlighter = Highlighter(search.query.text, schema, search.highlighting)
        self._highlighter.begin_ranking()
        found = self._highlighter.highlights
        end = max(self._deadline.end, Deadline.after(LEAST_SECONDS).end)
        highlights = {}
        for doc_id in doc_ids:
            if self._is_stopped or Deadline(end).has_passed():
                break
            if doc_id in stored:
                highlights[doc_id] = from_fragments(found(stored[doc_id]))
        return highlights
