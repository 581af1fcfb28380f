"""One collection of a Milvus: made, written, read and searched, by ids and expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pymilvus.milvus_client import IndexParams

from sidecar.errors import InvalidFieldError
from sidecar.recall.base import Recalled
from sidecar.recall.milvus.connection import Connection
from sidecar.recall.milvus.expressions import DOC_ID, SEQUENCE, of_doc_ids
from sidecar.recall.milvus.layout import to_indexes, to_milvus_schema
from sidecar.recall.milvus.rows import Row
from sidecar.types import Schema

# Answers of Milvus are bounded to 64 MB; a row has at most 128 KiB and a vector.
READ_ROWS = 200
# "topk (number of the most similar result to return)" of https://milvus.io/docs/limitations.md
MAX_SEARCHED = 16_384
# The property by which a sidecar knows what it made.
COLLECTION_ID = "sidecar.collection_id"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


class MilvusIndex:
    """By its name there. Raises BackendError, BackendUnavailableError and OverloadedError.

    Reads see what was written through this object before (consistency level Session); the first one
    all that was written by anybody.
    """

    def __init__(self, connection: Connection, name: str, collection_id: str) -> None:
        """`collection_id` is the sidecar's: whose it is, as a property of it says."""
        self._connection = connection
        self._name = name
        self._collection_id = collection_id
        self._consistency = "Strong"

    @property
    def name(self) -> str:
        """Its name in Milvus."""
        return self._name

    @property
    def timeout_seconds(self) -> float:
        """The longest time for one answer."""
        return self._connection.timeout_seconds

    def create(self, schema: Schema, dimensions: int | None) -> None:
        """Makes it, empty, or goes on with making it. Raises InvalidFieldError if there is one that
        was not made for this collection or has documents, TooLargeError."""
        if self._connection.call("has_collection", self._name):
            self._go_on_making(schema, dimensions)
            return
        self._connection.call(
            "create_collection",
            self._name,
            schema=to_milvus_schema(schema, dimensions),
            index_params=to_indexes(dimensions),
            num_shards=self._connection.shards,
            consistency_level="Session",
            properties={COLLECTION_ID: self._collection_id},
        )

    def drop(self) -> None:
        """Removes it with all its documents; nothing if it is not there, or is of another."""
        if self._connection.call("has_collection", self._name) and self._is_own():
            self._connection.call("drop_collection", self._name)

    def _go_on_making(self, schema: Schema, dimensions: int | None) -> None:
        if self._is_own() and not self.differences(schema, dimensions):
            for one in to_indexes(dimensions):
                if not self._connection.call("list_indexes", self._name, field_name=one.field_name):
                    self._connection.call(
                        "create_index", self._name, index_params=IndexParams([one])
                    )
            self._connection.call("load_collection", self._name)
            if not self.count():
                return
        raise InvalidFieldError(
            "backend.index",
            f"is {self._name!r}, which Milvus has already: give another name, or drop it there",
        )

    def _is_own(self) -> bool:
        described = self._connection.call("describe_collection", self._name)
        return bool(described["properties"].get(COLLECTION_ID) == self._collection_id)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def differences(self, schema: Schema, dimensions: int | None) -> list[str]:
        """In what it is not as `create` made it, in words."""
        if not self._connection.call("has_collection", self._name):
            return [f"Milvus has no collection {self._name!r} any more"]
        if not self._is_own():
            return [f"Milvus has another collection {self._name!r}: it was made anew"]
        described = self._connection.call("describe_collection", self._name)
        found = {field["name"]: field["type"] for field in described["fields"]}
        made = {field.name: field.dtype for field in to_milvus_schema(schema, dimensions).fields}
        return [
            f"field {name!r} of {self._name!r} is {_named(found.get(name))}, not {_named(kind)}"
            for name, kind in made.items()
            if found.get(name) != kind
        ]

    # Reads

    def count(self, timeout_seconds: float | None = None) -> int:
        """How many documents it has."""
        (row,) = self._query("", ["count(*)"], timeout_seconds)
        return int(row["count(*)"])

    def has_beyond(self, sequence: int) -> bool:
        """Whether a document has a higher sequence number."""
        return bool(self._query(f"{SEQUENCE} > {sequence}", [DOC_ID], limit=1))

    def rows(self, doc_ids: Sequence[str], columns: Sequence[str]) -> dict[str, Row]:
        """Columns of the documents that are stored, by id."""
        wanted = [DOC_ID, *columns]
        unique = list(dict.fromkeys(doc_ids))
        return {
            row[DOC_ID]: row
            for some in _chunks(unique, READ_ROWS)
            for row in self._query(of_doc_ids(some), wanted)
        }

    def search(
        self,
        field: str,
        query: str | list[float],
        expression: str,
        limit: int,
        *,
        params: dict[str, Any],
        timeout_seconds: float | None,
    ) -> list[Recalled]:
        """The best documents by a field, with their scores as Milvus has them."""
        (hits,) = self._call(
            "search",
            timeout_seconds,
            data=[query],
            anns_field=field,
            filter=expression,
            limit=min(limit, MAX_SEARCHED),
            output_fields=[DOC_ID],
            search_params={"params": params},
        )
        return [Recalled(hit[DOC_ID], float(hit["distance"])) for hit in hits]

    # Writes

    def write(self, rows: Sequence[Row]) -> None:
        """Rows in the place of those with their ids; kept once returned."""
        self._connection.call("upsert", self._name, data=list(rows))

    def delete(self, doc_ids: Sequence[str]) -> None:
        """Removes documents; gone for good once returned."""
        self._connection.call("delete", self._name, filter=of_doc_ids(doc_ids))

    def _query(
        self,
        expression: str,
        columns: list[str],
        timeout_seconds: float | None = None,
        **options: Any,
    ) -> list[Row]:
        return list(
            self._call(
                "query", timeout_seconds, filter=expression, output_fields=columns, **options
            )
        )

    def _call(self, method: str, timeout_seconds: float | None, **options: Any) -> Any:
        answer = self._connection.call(
            method,
            self._name,
            timeout_seconds=timeout_seconds,
            consistency_level=self._consistency,
            **options,
        )
        self._consistency = "Session"
        return answer


def index_name(index: str, default: str) -> str:
    """What Milvus takes for a name that was asked for, or that is the default one.

    Raises InvalidFieldError.
    """
    if index == default:
        return index.replace("-", "_")
    if not _NAME.fullmatch(index):
        raise InvalidFieldError(
            "backend.index",
            f'is {index[:80]!r}: Milvus takes 1 to 255 letters, digits or "_", no digit first',
        )
    return index


def _named(kind: Any) -> str:
    return "missing" if kind is None else f"of type {kind.name}"


def _chunks(doc_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(doc_ids), size):
        yield doc_ids[start : start + size]
