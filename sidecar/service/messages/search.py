"""search.proto: a search in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.errors import InvalidFieldError
from sidecar.pipeline.boosting import check_boosting
from sidecar.pipeline.grouping import check_grouping
from sidecar.pipeline.paging import PageQuery
from sidecar.recall.facets import check_facets
from sidecar.recall.field_weights import check_field_weights
from sidecar.recall.highlights import Highlighting
from sidecar.recall.schemas import MAX_TEXT_FIELDS
from sidecar.service.messages.checks import (
    check_bytes,
    check_collection,
    check_count,
    check_query,
)
from sidecar.service.messages.facets import to_facets
from sidecar.service.messages.filters import to_filter
from sidecar.service.messages.highlights import check_highlighting, to_highlighting
from sidecar.service.messages.order import to_boosts, to_decay, to_diversity, to_grouping
from sidecar.service.messages.paging import to_page
from sidecar.service.messages.ranking import to_options
from sidecar.types import FacetRequest, Query, Schema, Stage
from sidecar.v1 import search_pb2

LAST_STAGES = (Stage.FUSED, Stage.FIRST_RERANK, Stage.SECOND_RERANK)


@dataclass(frozen=True, slots=True)
class CollectionQuery:
    """A query, where it goes, the text fields to return with each hit, the page of them, what else
    to count, and the write that it is to find."""

    collection: str
    query: Query
    return_fields: tuple[str, ...]
    highlighting: Highlighting | None = None
    page: PageQuery | None = None
    facets: tuple[FacetRequest, ...] = ()
    min_sequence: int = 0


def to_search(message: search_pb2.SearchRequest, caller: str) -> CollectionQuery:
    """The search of a caller's request."""
    check_collection("collection", message.collection)
    check_query("query", message.query)
    query = _to_query(message, caller)
    page = to_page(message, query.options.top_k)
    return CollectionQuery(
        collection=message.collection,
        query=query if page is None else dataclasses.replace(query, page_hits=page.hits),
        return_fields=_to_return_fields(message.return_fields),
        highlighting=to_highlighting(message),
        page=page,
        facets=to_facets(message.facets, "facets"),
        min_sequence=_to_min_sequence(message.min_sequence),
    )


def check_search(search: CollectionQuery, schema: Schema) -> None:
    """Raises InvalidFieldError for what does not fit the collection; its filter is checked where it
    is used."""
    _check_return_fields(search.return_fields, schema)
    check_field_weights(search.query.field_weights, schema)
    check_highlighting(search.highlighting, schema)
    check_boosting(search.query, schema)
    check_grouping(search.query.grouping, schema)
    check_facets(search.facets, schema)


def _to_min_sequence(sequence: int) -> int:
    if sequence < 0:
        raise InvalidFieldError(
            "min_sequence", f"is {sequence}: give the sequence of an acknowledgement, or 0"
        )
    return sequence


def _to_query(message: search_pb2.SearchRequest, caller: str) -> Query:
    return Query(
        text=message.query,
        filter=to_filter(message.filter, "filter") if message.HasField("filter") else None,
        options=to_options(message.options, "options", LAST_STAGES),
        vector=tuple(message.query_vector) or None,
        caller=caller,
        field_weights=dict(message.field_weights),
        boosts=to_boosts(message.boosts, "boosts"),
        decay=to_decay(message.decay, "decay") if message.HasField("decay") else None,
        grouping=to_grouping(message.grouping, "grouping")
        if message.HasField("grouping")
        else None,
        diversity=to_diversity(message.diversity, "diversity")
        if message.HasField("diversity")
        else None,
    )


def _to_return_fields(names: Sequence[str]) -> tuple[str, ...]:
    if names:
        check_count("return_fields", len(names), MAX_TEXT_FIELDS, "names")
    for index, name in enumerate(names):
        check_bytes(f"return_fields[{index}]", name, 64)
        if name in names[:index]:
            raise InvalidFieldError(f"return_fields[{index}]", f"{name!r} is named twice")
    return tuple(names)


def _check_return_fields(names: Sequence[str], schema: Schema) -> None:
    known = [text_field.name for text_field in schema.text_fields]
    for index, name in enumerate(names):
        if name not in known:
            raise InvalidFieldError(
                f"return_fields[{index}]",
                f"{name!r} is not a text field: the collection has {', '.join(known)}",
            )
