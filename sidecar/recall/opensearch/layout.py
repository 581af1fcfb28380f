"""Where an index keeps what a collection asks for: one that the sidecar made, or another's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sidecar.recall.analyzers import analyzer
from sidecar.recall.opensearch.index import (
    DELETED,
    DOC_ID,
    SEQUENCE,
    VECTOR,
    Stored,
    attribute_field,
    field_terms,
    from_source,
    terms_field,
)
from sidecar.recall.opensearch.queries import AttributePlaces, Query, weighted
from sidecar.storage.rows import from_row_value, to_row_value
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import AttributeScalar, AttributeType, Schema

FIELDS, ATTRIBUTES = "fields", "attributes"


class Layout(AttributePlaces, Protocol):
    """What differs between indexes. Pure."""

    living: Query
    """All documents."""
    sort_field: str | None
    """Has the doc_id of each document, to sort equal scores by; None: nothing has."""
    vector_field: str | None
    """Has the vectors; None: nothing has."""

    def value(self, attribute: str, key: str | int | float) -> AttributeScalar | None:
        """A value as it was counted, back as a caller knows it; None: callers know none such, it
        counts among the others."""

    def text_query(self, query: str, weights: Mapping[str, float]) -> Query | None:
        """Documents with words of a query; None: it has no word to search for."""

    def sources(self, parts: Sequence[str]) -> list[str]:
        """The parts of a kept document (FIELDS, ATTRIBUTES, VECTOR) to read."""

    def read(self, doc_id: str, source: Mapping[str, Any]) -> Stored:
        """A document of which such parts were read."""


class OwnLayout:
    """Of an index that the sidecar made; see Layout and index.py."""

    def __init__(self, schema: Schema, bi_encoder: BiEncoderIdentity | None) -> None:
        self.living: Query = {"bool": {"must_not": [{"term": {DELETED: True}}]}}
        self.sort_field: str | None = DOC_ID
        self.vector_field = VECTOR if bi_encoder is not None else None
        self._schema = schema
        self._types = schema.attribute_types()

    def path(self, attribute: str) -> str:
        """See AttributePlaces."""
        return attribute_field(attribute)

    def operand(self, attribute: str, value: AttributeScalar) -> object:
        """See AttributePlaces."""
        return to_row_value(value)

    def value(self, attribute: str, key: str | int | float) -> AttributeScalar:
        """See Layout."""
        return to_scalar(key, self._types[attribute])

    def text_query(self, query: str, weights: Mapping[str, float]) -> Query | None:
        """See Layout. Without weights all fields of an analyzer are one."""
        terms = {name: Counter(analyzer(name)(query)) for name in self._analyzers()}
        if not weights:
            joint = {terms_field(name): counts for name, counts in terms.items()}
            return weighted(joint, dict.fromkeys(joint, 1.0))
        fields = {field_terms(f.name): terms[f.analyzer] for f in self._schema.text_fields}
        of_field = {field_terms(f.name): weights.get(f.name, 1.0) for f in self._schema.text_fields}
        return weighted(fields, of_field)

    def sources(self, parts: Sequence[str]) -> list[str]:
        """See Layout."""
        return [DOC_ID, SEQUENCE, DELETED, *parts]

    def read(self, doc_id: str, source: Mapping[str, Any]) -> Stored:
        """See Layout."""
        return from_source(source, self._types)

    def _analyzers(self) -> set[str]:
        return {field.analyzer for field in self._schema.text_fields}


def to_scalar(key: str | int | float, kind: AttributeType) -> AttributeScalar:
    """The key of a bucket, of which a double may have come as an integer."""
    return float(key) if kind is AttributeType.DOUBLE else from_row_value(key, kind)
