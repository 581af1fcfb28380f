"""How the index of a collection comes to be, is looked at, and goes."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from sidecar.config import BackendConfig
from sidecar.errors import BackendError, InvalidFieldError
from sidecar.recall.opensearch.client import Client, RefusedError
from sidecar.recall.opensearch.existing import check_mapping
from sidecar.recall.opensearch.index import from_meta, to_index
from sidecar.recall.opensearch.reading import missing
from sidecar.recall.remote import RemoteRecord

# All nodes of the cluster have to hear of an index that comes or goes.
CHANGE_SECONDS = 60.0
# A pattern or a list would reach further than the caller says.
_ONE_INDEX = re.compile(r"""[^-_+.*,?"<>|#:/\\\sA-Z][^*,?"<>|#:/\\\sA-Z]*""")


def prepare(record: RemoteRecord, config: BackendConfig) -> RemoteRecord:
    """Creates the index, or looks at one that exists: that of a mapping, that of another sidecar
    if it is only to be read, or the one that this creation made before it was broken off.

    Raises InvalidFieldError, BackendError, BackendUnavailableError.
    """
    backend = record.backend
    if not _ONE_INDEX.fullmatch(backend.index):
        raise InvalidFieldError(
            "backend.index",
            f"{backend.index[:80]!r} is not the name of one index: give lower-case letters, digits "
            'and other characters than those of patterns and paths, first no "-", "_" or "+"',
        )
    with _connected(backend.name, config) as client:
        if backend.mapping:
            mappings = _mappings(client, backend.index)
            if mappings is None:
                raise InvalidFieldError("backend.index", f"{backend.index!r} does not exist")
            check_mapping(record, mappings)
            return dataclasses.replace(
                record,
                backend=dataclasses.replace(backend, read_only=True),
                bi_encoder=record.bi_encoder if _has_vectors(record) else None,
            )
        if backend.read_only:
            return _of_another(client, record)
        return _created(client, record, config)


def discard(record: RemoteRecord, config: BackendConfig) -> None:
    """Deletes the index, if it is the sidecar's and still that of this collection."""
    if record.backend.read_only:
        return
    with _connected(record.backend.name, config) as client:
        index = record.backend.index
        mappings = _mappings(client, index)
        if mappings is None:
            return
        if from_meta(index, mappings).collection_id == record.collection_id:
            client.call("DELETE", f"/{quote(index)}", None, CHANGE_SECONDS, missing_is_none=True)


def check(client: Client, record: RemoteRecord) -> None:
    """Raises BackendError if the index is not there, or not that of the collection."""
    mappings = _mappings(client, record.backend.index)
    if mappings is None:
        raise missing(record.backend.index)
    if record.backend.mapping:
        return
    if from_meta(record.backend.index, mappings).collection_id != record.collection_id:
        raise BackendError(
            f"index {record.backend.index!r} is of another collection than {record.name!r}: it was "
            "made anew. Drop this one, and create it again"
        )


def _created(client: Client, record: RemoteRecord, config: BackendConfig) -> RemoteRecord:
    index = record.backend.index
    try:
        client.call("PUT", f"/{quote(index)}", to_index(record, config), CHANGE_SECONDS)
    except RefusedError as error:
        if error.kind == "invalid_index_name_exception":
            raise InvalidFieldError("backend.index", error.message) from error
        if error.kind != "resource_already_exists_exception":
            raise
        return _of_broken_off(client, record)
    return record


def _of_broken_off(client: Client, record: RemoteRecord) -> RemoteRecord:
    """The record of an index that exists, if it was made for this very creation."""
    index = record.backend.index
    found = _of_another(client, record)
    client.call("POST", f"/{quote(index)}/_refresh")
    answer = client.call("POST", f"/{quote(index)}/_count", {"query": {"match_all": {}}})
    if answer["count"] or answer["_shards"]["failed"]:
        what = "has documents"
    elif found.collection_id != record.collection_id:
        what = "was made for another collection, which may be written soon"
    else:
        return record
    raise InvalidFieldError(
        "backend.index",
        f"{index!r} exists and {what}: give another name, or `read_only` to search what another "
        "sidecar writes, or delete it there",
    )


def _of_another(client: Client, record: RemoteRecord) -> RemoteRecord:
    """The record of an index that another sidecar made."""
    index = record.backend.index
    mappings = _mappings(client, index)
    if mappings is None:
        raise InvalidFieldError("backend.index", f"{index!r} does not exist")
    try:
        meta = from_meta(index, mappings)
    except BackendError as error:
        raise InvalidFieldError("backend.index", error.message) from error
    if meta.schema != record.schema:
        raise InvalidFieldError("schema", f"is another one than that of index {index!r}")
    if meta.bi_encoder != record.bi_encoder:
        raise InvalidFieldError(
            "backend.index",
            f"{index!r} has vectors of {meta.bi_encoder or 'no bi-encoder'}, the server has "
            f"{record.bi_encoder or 'none'}",
        )
    return dataclasses.replace(record, collection_id=meta.collection_id)


def _mappings(client: Client, index: str) -> Mapping[str, Any] | None:
    answer = client.call("GET", f"/{quote(index)}/_mapping", missing_is_none=True)
    if not answer:
        return None
    # Under the name of the index, which is another one where it was asked for by an alias.
    (found, *_) = answer.values()
    mappings: Mapping[str, Any] = found["mappings"]
    return mappings


def _has_vectors(record: RemoteRecord) -> bool:
    return any(each.name == "vector" for each in record.backend.mapping)


@contextlib.contextmanager
def _connected(name: str, config: BackendConfig) -> Iterator[Client]:
    client = Client(name, config)
    try:
        yield client
    finally:
        client.close()
