"""What the tests of recall and storage share: schemas, documents, filters and a plain predicate."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from fakes import BI_ENCODER_CONTRACT, FakeBiEncoder
from hypothesis import strategies as st

from sidecar.config import Config, DenseIndexConfig
from sidecar.errors import ModelError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.types import (
    AllOf,
    AnyOf,
    Attribute,
    AttributeField,
    AttributeType,
    Document,
    Equals,
    Filter,
    NoneOf,
    OneOf,
    Range,
    Schema,
)

ATTRIBUTES = (
    AttributeField("colour", AttributeType.STRING),
    AttributeField("year", AttributeType.INTEGER),
    AttributeField("price", AttributeType.DOUBLE),
    AttributeField("new", AttributeType.BOOLEAN),
    AttributeField("seen", AttributeType.TIMESTAMP),
    AttributeField("tags", AttributeType.STRING_LIST),
)
SCHEMA = Schema(attributes=ATTRIBUTES)
WAIT_SECONDS = 60.0
CONFIG = Config()
FAKE = FakeBiEncoder()

# Few values of each type, edges included, so that generated filters often match something.
VALUES: dict[str, list[Attribute]] = {
    "colour": ["", "red", "Red", "röd", "a b", "x\x00y"],
    "year": [-(2**63), -1, 0, 1, 2024, 2**63 - 1],
    "price": [-1e300, -0.0, 0.0, 0.1, 1.0, 2.5, 1e300],
    "new": [True, False],
    "seen": [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC),
        datetime(2024, 2, 29, 12, 0, 0, 2, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
    "tags": [(), ("red",), ("red", "blue"), ("blue", "", "red")],
}
OPERANDS = {**VALUES, "tags": ["red", "blue", "", "green"]}

attributes = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}
)


def _leaves() -> st.SearchStrategy[Filter]:
    equals = [
        st.builds(Equals, st.just(name), st.sampled_from(values))
        for name, values in OPERANDS.items()
    ]
    one_of = [
        st.builds(
            OneOf,
            st.just(name),
            st.lists(st.sampled_from(values), min_size=1, max_size=3).map(tuple),
        )
        for name, values in OPERANDS.items()
    ]
    ranges = [
        st.builds(
            Range,
            st.just(name),
            st.none() | st.sampled_from(OPERANDS[name]),
            st.none() | st.sampled_from(OPERANDS[name]),
            st.booleans(),
            st.booleans(),
        ).filter(lambda r: r.lower is not None or r.upper is not None)
        for name in ("year", "price", "seen")
    ]
    return st.one_of(*equals, *one_of, *ranges)


filters = st.recursive(
    _leaves(),
    lambda below: st.one_of(
        *(
            st.builds(kind, st.lists(below, min_size=1, max_size=3).map(tuple))
            for kind in (AllOf, AnyOf, NoneOf)
        )
    ),
    max_leaves=8,
)


def matches(filter: Filter, values: dict[str, Attribute]) -> bool:
    """The meaning of a filter, written as plainly as can be."""
    match filter:
        case AllOf(below):
            return all(matches(each, values) for each in below)
        case AnyOf(below):
            return any(matches(each, values) for each in below)
        case NoneOf(below):
            return not any(matches(each, values) for each in below)
        case Equals(name, value):
            return any(held == value for held in _held(values, name))
        case OneOf(name, wanted):
            return any(held == value for held in _held(values, name) for value in wanted)
        case Range(name, lower, upper, lower_inclusive, upper_inclusive):
            return any(
                (lower is None or held > lower or (lower_inclusive and held == lower))
                and (upper is None or held < upper or (upper_inclusive and held == upper))
                for held in _held(values, name)
            )


def _held(values: dict[str, Attribute], name: str) -> tuple[Attribute, ...]:
    if name not in values:
        return ()
    value = values[name]
    return value if isinstance(value, tuple) else (value,)


def a_document(number: int, text: str = "", **values: Attribute) -> Document:
    """A document that every search for "common" finds."""
    return Document(f"d{number:04}", {"title": "common", "text": text or f"word{number}"}, values)


def a_collection(folder: Path, schema: Schema = SCHEMA, kind: str = "fp16") -> EmbeddedCollection:
    """A new collection below a folder, with the fake bi-encoder."""
    config = Config(dense_index=DenseIndexConfig(kind=kind, ivf_lists=4, ivf_probes=2))
    return EmbeddedCollection.create(folder / "things", "things", schema, FakeBiEncoder(), config)


def write(collection: EmbeddedCollection, documents: list[Document]) -> None:
    """Writes documents and waits until they are searchable."""
    for start in range(0, len(documents), 1000):
        written = collection.upsert(documents[start : start + 1000])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)


def reopened(
    collection: EmbeddedCollection, bi_encoder: FakeBiEncoder | None = FAKE, config: Config = CONFIG
) -> EmbeddedCollection:
    """The same, closed and opened again."""
    collection.close()
    return EmbeddedCollection.open(collection.folder, bi_encoder, config)


def lexical_ids(collection: EmbeddedCollection, query: str, depth: int = 100) -> list[str]:
    """What the lexical leg finds, best first."""
    return [recalled.doc_id for recalled in collection.lexical(query, None, depth).recalled]


def dense_ids(collection: EmbeddedCollection, query: str, depth: int = 100) -> list[str]:
    """What the dense leg finds, best first."""
    vector = FAKE.encode_queries([query])[0]
    return [recalled.doc_id for recalled in collection.dense(vector, None, depth).recalled]


class Encoder(FakeBiEncoder):
    """Another fake model for each revision: the same words, hashed into other places.

    `gate` is waited for before passages are encoded; `failing` raises; `encoded` are the texts.
    """

    def __init__(self, revision: str = "fake-2", dimensions: int = 48) -> None:
        super().__init__(
            dataclasses.replace(BI_ENCODER_CONTRACT, revision=revision, dimensions=dimensions)
        )
        self.gate = threading.Event()
        self.gate.set()
        self.failing = ""
        self.encoded: list[str] = []
        self.batches: list[int] = []

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        salted = [" ".join(f"{word}/{self.contract.revision}" for word in t.split()) for t in texts]
        return super().encode_passages(salted)

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        self.gate.wait()
        if self.failing:
            raise ModelError(self.failing)
        self.encoded += texts
        self.batches.append(len(texts))
        return self.encode_queries(texts)


def scanned(held: dict[str, str], encoder: FakeBiEncoder, query: str, depth: int = 10):
    """The same by a scan over the vectors of the texts."""
    if not held:
        return []
    doc_ids = sorted(held)
    vectors = encoder.encode_queries([f"common\n{held[doc_id]}" for doc_id in doc_ids])
    scores = vectors.astype(np.float64) @ encoder.encode_queries([query])[0]
    best = sorted(range(len(doc_ids)), key=lambda row: (-scores[row], doc_ids[row]))[:depth]
    return [(doc_ids[row], scores[row]) for row in best]


def assert_same(found, wanted) -> None:
    """The same documents but for ties, which float16 and float64 see differently."""
    assert len(found) == len(wanted)
    assert np.allclose([s for _, s in found], [s for _, s in wanted], atol=2e-3)
    least = wanted[-1][1] if wanted else 0.0
    sure = {doc_id for doc_id, score in wanted if score > least + 4e-3}
    assert sure <= {doc_id for doc_id, _ in found}
