"""Both legs of recall over an embedded collection.

The way of a search: filter -> one index -> ordinals -> the ids of the documents that still live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from sidecar.errors import InvalidFieldError, StorageError
from sidecar.recall.base import Leg, Recalled
from sidecar.recall.embedded.columns import AttributeColumns
from sidecar.recall.embedded.derived import DerivedIndexes
from sidecar.recall.embedded.filters import attribute_names, matching
from sidecar.recall.embedded.generation import Generation
from sidecar.recall.embedded.plan import (
    DENSE_LEAST_SHARE,
    LEXICAL_LEAST_SHARE,
    Attempt,
    Way,
    attempts,
    first_enough,
)
from sidecar.recall.embedded.postings import to_ordinals
from sidecar.recall.embedded.ties import Found
from sidecar.recall.field_weights import check_field_weights
from sidecar.recall.filters import check_filter
from sidecar.storage.documents import DocumentStore
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Filter, StageReason


@dataclass(frozen=True, slots=True)
class Passing:
    """The documents that match a filter; all writes up to `sequence` are accounted for."""

    filter: Filter
    ordinals: BitMap
    sequence: int


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
            return self._lexical(query, filter, depth, field_weights)
        except StorageError as error:
            return Leg((), reason=StageReason.INDEX_UNAVAILABLE, detail=error.message)

    def _lexical(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        field_weights: Mapping[str, float] | None,
    ) -> Leg:
        lexical = self._derived.lexical
        passing = None if filter is None else self._passing(filter)
        tries = self._attempts(passing, depth, LEXICAL_LEAST_SHARE)
        # Before the search, which may be on a later state.
        hidden = self._derived.hidden

        def search(way: Way, most: int) -> Found | None:
            cut = filter if way is Way.WITHIN else None
            return lexical.search(query, cut, most, field_weights)

        def keep(found: Found) -> Found:
            """The index may find others by what they were before a write that it does not have."""
            if passing is not None:
                return self._still(passing, found)
            return [each for each in found if each[0] not in hidden] if hidden else found

        found = first_enough(tries, depth, search, keep)
        if found is None:
            detail = "the query has no word that the analyzers keep"
            return Leg((), reason=StageReason.NO_QUERY_TERMS, detail=detail)
        return Leg(self._recalled(found, depth), self._eligible(passing))

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
        passing = None if filter is None else self._passing(filter)
        tries = self._attempts(passing, depth, DENSE_LEAST_SHARE)

        def search(way: Way, most: int) -> Found:
            within = passing is not None and way is Way.WITHIN
            allowed = to_ordinals(passing.ordinals) if passing is not None and within else None
            return dense.search(vector, most, allowed)

        def keep(found: Found) -> Found:
            return found if passing is None else self._still(passing, found)

        found = first_enough(tries, depth, search, keep)
        return Leg(self._recalled(found or [], depth), self._eligible(passing))

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

    def _attempts(
        self, passing: Passing | None, depth: int, least_share: float
    ) -> tuple[Attempt, ...]:
        if passing is None:
            return (Attempt(Way.WITHIN, depth),)
        return attempts(len(passing.ordinals), self._store.count, depth, least_share)

    def _passing(self, filter: Filter) -> Passing:
        """The documents that match a checked filter, as they are stored."""
        sequence = self._store.sequence
        with self._columns.asking(attribute_names(filter)) as attributes:
            return Passing(filter, matching(filter, attributes), sequence)

    def _still(self, passing: Passing, found: Found) -> Found:
        """Those of what was found that pass as they are stored now."""
        if self._store.sequence > passing.sequence:
            passing = self._passing(passing.filter)
        return [each for each in found if each[0] in passing.ordinals]

    def _eligible(self, passing: Passing | None) -> int:
        return self._store.count if passing is None else len(passing.ordinals)

    def _recalled(self, found: Found, depth: int) -> tuple[Recalled, ...]:
        """The documents that still live, best first, ties by doc_id."""
        doc_ids = self._store.remembered_doc_ids([ordinal for ordinal, _ in found])
        living = sorted((-score, doc_ids[o]) for o, score in found if o in doc_ids)[:depth]
        return tuple(Recalled(doc_id, -negative) for negative, doc_id in living)
