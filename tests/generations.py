"""What the tests of generations share: documents, searches by a bi-encoder, and waiting for it."""

from __future__ import annotations

import numpy as np
from fakes import FakeBiEncoder
from recalling import WAIT_SECONDS, a_document, write

from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of
from sidecar.types import StageReason


def texts(count: int, seed: int = 0) -> list[str]:
    """Six of forty words each."""
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{n}" for n in rng.integers(0, 40, size=6)) for _ in range(count)]


def fill(collection: EmbeddedCollection, count: int = 120) -> list[str]:
    """Writes documents and waits until they are searchable; their texts, by number."""
    written = texts(count)
    write(collection, [a_document(n, text, year=n % 3) for n, text in enumerate(written)])
    return written


def found(
    collection: EmbeddedCollection, encoder: FakeBiEncoder, query: str, depth: int = 10, filter=None
):
    """The ids and scores that the generation of a bi-encoder finds, best first."""
    leg = collection.dense(encoder.encode_queries([query])[0], filter, depth, identity_of(encoder))
    assert leg.reason is StageReason.NONE, leg.detail
    return [(each.doc_id, each.score) for each in leg.recalled]


def ready(collection: EmbeddedCollection, encoder: FakeBiEncoder) -> None:
    """Waits until the generation of a bi-encoder is complete."""
    assert collection.wait_generation(identity_of(encoder), WAIT_SECONDS)


def settled(collection: EmbeddedCollection, *encoders: FakeBiEncoder) -> None:
    """Waits until every generation has every document."""
    for encoder in encoders:
        assert collection.wait_up_to_date(identity_of(encoder), WAIT_SECONDS)
