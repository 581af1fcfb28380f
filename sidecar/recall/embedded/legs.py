"""Both legs of recall over an embedded collection.

The way of a search: filter -> one index -> ordinals -> the ids of the documents that still live.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from sidecar.errors import InvalidFieldError, StorageError
from sidecar.recall.base import Leg, Recalled
from sidecar.recall.embedded.columns import AttributeColumns
from sidecar.recall.embedded.derived import DerivedIndexes
from sidecar.recall.embedded.filters import attribute_names, matching
from sidecar.recall.embedded.generation import Generation
from sidecar.recall.embedded.postings import to_ordinals
from sidecar.recall.embedded.ties import Found, search_with_ties
from sidecar.recall.field_weights import check_field_weights
from sidecar.recall.filters import check_filter
from sidecar.storage.documents import DocumentStore
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Filter, StageReason


class EmbeddedLegs:
    """See Recaller."""

    def __init__(
        self, store: DocumentStore, derived: DerivedIndexes, columns: AttributeColumns
    ) -> None:
        self._store = store
        self._derived = derived
        self._columns = columns

    def lexical(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        field_weights: Mapping[str, float] | None = None,
    ) -> Leg:
        """See Recaller."""
        self._check(filter)
        check_field_weights(field_weights or {}, self._store.header.schema)
        fault = self._derived.lexical_fault()
        if fault:
            return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=fault)
        try:
            found = self._best(query, filter, depth, field_weights)
        except StorageError as error:
            return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=error.message)
        if found is None:
            detail = "the query has no word that the analyzers keep"
            return Leg((), reason=StageReason.NO_QUERY_TERMS, detail=detail)
        eligible = self._store.count if filter is None else None
        return Leg(self._recalled(found, depth), eligible)

    def _best(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        field_weights: Mapping[str, float] | None,
    ) -> Found | None:
        """The best that live and pass the filter as they are stored: the index may find others by
        what they were before a write that it does not have yet."""
        lexical, asked = self._derived.lexical, depth
        while True:
            # Before the search, which may be on a later state.
            hidden, watermark = self._derived.hidden, lexical.watermark
            found = search_with_ties(
                asked, lambda most: lexical.search(query, filter, most, field_weights)
            )
            if not found:
                return found
            living = [each for each in found if each[0] not in hidden]
            passing = self._passing(living, filter, watermark) if filter else living
            if len(passing) >= depth or len(found) < asked:
                return passing
            asked += len(found) - len(passing)

    def _passing(self, found: Found, filter: Filter, watermark: int) -> Found:
        changed = self._store.written_after(watermark, [ordinal for ordinal, _ in found])
        if not changed:
            return found
        wrong = changed.difference(self._matching(filter))
        return [(ordinal, score) for ordinal, score in found if ordinal not in wrong]

    def dense(
        self,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
        generation: BiEncoderIdentity | None = None,
    ) -> Leg:
        """See Recaller."""
        self._check(filter)
        generations = self._derived.generations
        chosen = generations.leading if generation is None else generations.get(generation)
        if chosen is None:
            return self._without_generation(generation)
        fault = self._derived.dense_fault(chosen)
        if fault:
            return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=fault)
        return self._nearest(chosen, vector, filter, depth)

    def _nearest(
        self,
        chosen: Generation,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
    ) -> Leg:
        dense, dimensions = chosen.dense, chosen.identity.dimensions
        if vector.shape != (dimensions,):
            raise InvalidFieldError(
                "query_vector",
                f"has {vector.size} values; the collection's bi-encoder has {dimensions}",
            )
        allowed = None if filter is None else to_ordinals(self._matching(filter))
        found = search_with_ties(depth, lambda asked: dense.search(vector, asked, allowed))
        eligible = self._store.count if allowed is None else len(allowed)
        return Leg(self._recalled(found or [], depth), eligible)

    def _without_generation(self, asked: BiEncoderIdentity | None) -> Leg:
        """The dense leg where the generation asked for (None: the leading one) is not at hand."""
        generations = self._derived.generations
        wanted, held = asked or generations.configured, generations.leading_identity
        if wanted is None:
            detail = "no bi-encoder is configured"
            return Leg((), reason=StageReason.NOT_CONFIGURED, detail=detail)
        detail = f"the collection has no vectors of {wanted}"
        if held is not None:
            detail = (
                f"the collection's vectors are of {held}, the configured bi-encoder is {wanted}: "
                "configure the former, have the documents encoded by the latter by activating it "
                "(`sidecar models activate`, for a model of the registry), or index them anew"
            )
        return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=detail)

    def _check(self, filter: Filter | None) -> None:
        if filter is not None:
            check_filter(filter, self._store.header.schema)

    def _matching(self, filter: Filter) -> BitMap:
        """Ordinals of the documents that match a checked filter, as they are stored."""
        with self._columns.asking(attribute_names(filter)) as attributes:
            return matching(filter, attributes)

    def _recalled(self, found: Found, depth: int) -> tuple[Recalled, ...]:
        """The documents that still live, best first, ties by doc_id."""
        doc_ids = self._store.doc_ids([ordinal for ordinal, _ in found])
        living = [Recalled(doc_ids[o], score) for o, score in found if o in doc_ids]
        return tuple(sorted(living, key=lambda each: (-each.score, each.doc_id))[:depth])
