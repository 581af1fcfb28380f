"""Queries that are asked of both collections through both legs: words, a vector and a filter of
documents that they have."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sidecar.recall.base import Leg, Recaller
from sidecar.types import AttributeScalar, Document, Equals, Filter, StageReason

PROBES = 24
DEPTH = 100
WORDS = 4


@dataclass(frozen=True, slots=True)
class Probe:
    """`vector` is empty where the document has none."""

    query: str
    vector: Sequence[float]
    filter: Filter | None

    def lexical(self, recaller: Recaller) -> Leg:
        """The leg's answer."""
        return recaller.lexical(self.query, self.filter, DEPTH)

    def dense(self, recaller: Recaller) -> Leg:
        """Likewise."""
        return recaller.dense(np.asarray(self.vector, np.float32), self.filter, DEPTH)


class Sample:
    """Some of the documents that it is shown, by chance, as many as there are to be probes."""

    def __init__(self, chance: random.Random) -> None:
        self.documents: list[Document] = []
        self._chance = chance

    def draw(self, documents: Iterable[Document], seen: int) -> None:
        """The more were `seen`, the less likely is one to replace another."""
        for document in documents:
            if len(self.documents) < PROBES:
                self.documents.append(document)
            elif self._chance.random() < PROBES / max(seen, 1):
                self.documents[self._chance.randrange(PROBES)] = document


def to_probe(document: Document, chance: random.Random) -> Probe:
    """Every other one, by chance, is filtered by an attribute of the document."""
    words = " ".join(document.fields.values()).split()
    chosen = chance.sample(words, min(WORDS, len(words)))
    scalars = {
        name: value for name, value in document.attributes.items() if not isinstance(value, tuple)
    }
    filter = None
    if scalars and chance.random() < 0.5:
        name = chance.choice(sorted(scalars))
        value: AttributeScalar = scalars[name]
        filter = Equals(name, value)
    return Probe(" ".join(chosen), document.vector or (), filter)


def overlap(one: Leg, other: Leg) -> float:
    """The share of the documents of the longer answer that both have; 1 of none."""
    first, second = ids_of(one), ids_of(other)
    most = max(len(first), len(second))
    return len(first & second) / most if most else 1.0


def ids_of(leg: Leg) -> set[str]:
    """The documents of an answer."""
    return {recalled.doc_id for recalled in leg.recalled}


def fault(leg: Leg) -> str:
    """Why it is no answer that can be compared; empty if it is one."""
    if leg.reason in (StageReason.NONE, StageReason.NO_QUERY_TERMS):
        return ""
    return f"{leg.reason.name}: {leg.detail}"


def is_whole(probe: Probe, leg: Leg) -> bool:
    """Whether all that passes the filter is in an answer."""
    return probe.filter is not None and len(leg.recalled) < DEPTH
