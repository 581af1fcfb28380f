"""Both legs of recall, each one search, within its time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from sidecar.config import BackendConfig
from sidecar.errors import BackendError, BackendUnavailableError, InvalidFieldError, OverloadedError
from sidecar.recall.base import Leg
from sidecar.recall.filters import check_filter
from sidecar.recall.opensearch.answers import to_leg, unavailable
from sidecar.recall.opensearch.client import Client
from sidecar.recall.opensearch.layout import Layout
from sidecar.recall.opensearch.queries import (
    Query,
    dense_search,
    lexical_search,
    to_cosine,
    to_query,
    within,
)
from sidecar.recall.remote import RemoteRecord
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Filter, StageReason

# Of a leg's time, what OpenSearch may search for; the rest is the way there and back.
SEARCH_SHARE = 0.9


class OpenSearchLegs:
    """See Recaller. Equal scores are by doc_id, also where they are cut."""

    def __init__(
        self,
        client: Client,
        record: RemoteRecord,
        layout: Layout,
        configured: BiEncoderIdentity | None,
        config: BackendConfig,
    ) -> None:
        self._client = client
        self._record = record
        self._layout = layout
        self._configured = configured
        self._seconds = config.timeout_seconds
        index = quote(record.backend.index)
        self._path = f"/{index}/_search?allow_partial_search_results=true"

    def lexical(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        field_weights: Mapping[str, float] | None,
        timeout_seconds: float | None,
    ) -> Leg:
        """See Recaller."""
        cut = self._filter(filter)
        text_query = self._layout.text_query(query, field_weights or {})
        if text_query is None:
            detail = "the query has no word that the analyzers keep"
            return Leg((), reason=StageReason.NO_QUERY_TERMS, detail=detail)
        return self._search(lexical_search(text_query, cut, depth), depth, float, timeout_seconds)

    def dense(
        self,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
        generation: BiEncoderIdentity | None,
        timeout_seconds: float | None,
    ) -> Leg:
        """See Recaller."""
        cut, held, field = self._filter(filter), self._record.bi_encoder, self._layout.vector_field
        wanted = generation or self._configured
        if wanted is None:
            detail = "no bi-encoder is configured"
            return Leg((), reason=StageReason.NOT_CONFIGURED, detail=detail)
        if held is None or field is None:
            detail = "the collection was created without vectors"
            return Leg((), reason=StageReason.NOT_CONFIGURED, detail=detail)
        if wanted != held:
            detail = (
                f"the collection's vectors are of {held}, not of {wanted}: configure the former"
            )
            return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=detail)
        if vector.shape != (held.dimensions,):
            raise InvalidFieldError(
                "query_vector",
                f"has {vector.size} values; the collection's bi-encoder has {held.dimensions}",
            )
        body = dense_search(field, vector.tolist(), cut, depth)
        return self._search(body, depth, to_cosine, timeout_seconds)

    def _filter(self, filter: Filter | None) -> Query | None:
        if filter is None:
            return None
        check_filter(filter, self._record.schema)
        return to_query(filter, self._layout)

    def _search(
        self,
        body: Query,
        depth: int,
        to_score: Callable[[float], float],
        timeout_seconds: float | None,
    ) -> Leg:
        seconds = self._seconds
        if timeout_seconds is not None:
            seconds = min(timeout_seconds, seconds)
        whole = within(body, seconds * SEARCH_SHARE, self._layout.sort_field)
        try:
            answer = self._client.call("POST", self._path, whole, seconds)
        except (BackendError, BackendUnavailableError, OverloadedError) as error:
            return unavailable(error)
        return to_leg(answer, depth, to_score)
