"""Both legs of recall over a Milvus collection, two searches that know nothing of each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from sidecar.errors import (
    BackendError,
    BackendUnavailableError,
    InvalidFieldError,
    OverloadedError,
    UnsupportedError,
)
from sidecar.models.base import BiEncoder
from sidecar.recall.base import Leg, Recalled
from sidecar.recall.encoding import identity_of
from sidecar.recall.filters import check_filter
from sidecar.recall.milvus.expressions import to_expression
from sidecar.recall.milvus.index import MAX_SEARCHED, MilvusIndex
from sidecar.recall.milvus.rows import LEXICAL, VECTOR
from sidecar.recall.milvus.terms import query_terms
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Filter, Schema, StageReason

# Candidates that a search of the HNSW graph keeps, at least.
MIN_EF = 200
# Equal scores are cut by doc_id: a search looks so far beyond its depth for them, then on.
TIE_MARGIN = 16
LEAST_SECONDS = 0.001
_Search = Callable[[int, float], list[Recalled]]  # (limit, seconds)


class MilvusLegs:
    """See Recaller. `identity`: whose vectors the collection has; `bi_encoder`: the configured."""

    def __init__(
        self,
        index: MilvusIndex,
        schema: Schema,
        identity: BiEncoderIdentity | None,
        bi_encoder: BiEncoder | None,
    ) -> None:
        self._index = index
        self._schema = schema
        self._identity = identity
        self._configured = identity_of(bi_encoder) if bi_encoder is not None else None

    def lexical(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        field_weights: Mapping[str, float] | None,
        timeout_seconds: float | None,
    ) -> Leg:
        """See Recaller. BM25 is of all fields as one: Milvus knows no weights of fields."""
        expression = self._expression(filter)
        if field_weights:
            raise UnsupportedError(
                "Milvus cannot weigh text fields: leave field_weights out, or keep the collection "
                "elsewhere"
            )
        terms = query_terms(query, self._schema)
        if not terms:
            detail = "the query has no word that the analyzers keep"
            return Leg((), reason=StageReason.NO_QUERY_TERMS, detail=detail)

        def search(limit: int, seconds: float) -> list[Recalled]:
            found = self._index.search(
                LEXICAL, terms, expression, limit, params={}, timeout_seconds=seconds
            )
            # milvus-lite gives BM25 with the other sign; it is above 0.
            return [Recalled(each.doc_id, abs(each.score)) for each in found]

        return _leg(search, depth, self._seconds(timeout_seconds))

    def dense(
        self,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
        generation: BiEncoderIdentity | None,
        timeout_seconds: float | None,
    ) -> Leg:
        """See Recaller."""
        expression = self._expression(filter)
        missing = self._without_vectors(generation)
        if missing is not None:
            return missing
        assert self._identity is not None
        if vector.shape != (self._identity.dimensions,):
            raise InvalidFieldError(
                "query_vector",
                f"has {vector.size} values; the collection's bi-encoder has "
                f"{self._identity.dimensions}",
            )
        values = [float(each) for each in vector]

        def search(limit: int, seconds: float) -> list[Recalled]:
            params = {"ef": max(MIN_EF, limit)}
            return self._index.search(
                VECTOR, values, expression, limit, params=params, timeout_seconds=seconds
            )

        return _leg(search, depth, self._seconds(timeout_seconds))

    def _seconds(self, timeout_seconds: float | None) -> float:
        longest = self._index.timeout_seconds
        return longest if timeout_seconds is None else min(longest, timeout_seconds)

    def _expression(self, filter: Filter | None) -> str:
        if filter is None:
            return ""
        check_filter(filter, self._schema)
        return to_expression(filter, self._schema.attribute_types())

    def _without_vectors(self, generation: BiEncoderIdentity | None) -> Leg | None:
        """The dense leg where Milvus has no vectors of the bi-encoder asked for."""
        wanted = generation or self._configured
        if wanted is None:
            detail = "no bi-encoder is configured"
            return Leg((), reason=StageReason.NOT_CONFIGURED, detail=detail)
        if wanted == self._identity:
            return None
        held = f"are of {self._identity}" if self._identity else "were never made"
        detail = (
            f"the collection's vectors {held}, asked for is {wanted}: Milvus keeps those of the "
            "bi-encoder that the collection was created with: configure that one, or index the "
            "documents anew"
        )
        return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=detail)


def _leg(search: _Search, depth: int, seconds: float) -> Leg:
    try:
        return Leg(_best(search, depth, seconds))
    except BackendError as error:
        return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=error.message)
    except (BackendUnavailableError, OverloadedError) as error:
        return Leg(
            (),
            reason=StageReason.INDEX_UNAVAILABLE,
            detail=error.message,
            retry_seconds=error.retry_seconds,
        )


def _best(search: _Search, depth: int, seconds: float) -> tuple[Recalled, ...]:
    """The best, ties by doc_id: those that equal the last are all looked at. All searches together
    have the seconds."""
    end = time.monotonic() + seconds
    limit = depth + TIE_MARGIN
    while True:
        left = max(LEAST_SECONDS, end - time.monotonic())
        found = sorted(search(limit, left), key=lambda each: (-each.score, each.doc_id))
        if len(found) < limit or limit >= MAX_SEARCHED or found[-1].score < found[depth - 1].score:
            return tuple(found[:depth])
        limit = min(4 * limit, MAX_SEARCHED)
