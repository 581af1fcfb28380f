"""Documents and queries for benchmarks/scale.py: real text as far as it reaches, then noise copies.

A copy has the words of a real document, a third of them replaced by words drawn as often as they
stand in all documents, and its vector with normal noise added, normalised: at a cosine of .8 to the
document. Every document has a `share`, a whole number drawn evenly below 10,000, so that a filter
`share < n` lets n in 10,000 pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sidecar.evaluation.beir import read_corpus, read_judged_set
from sidecar.models.base import BiEncoder
from sidecar.types import to_passage

Vectors = npt.NDArray[np.float32]
SHARES = 10_000
NOISE = 0.75  # of a vector's length: the cosine is 1 / sqrt(1 + NOISE ** 2)
REPLACED = 1 / 3
ENCODED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Text:
    """A document without its vector."""

    doc_id: str
    text: str
    share: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """`texts`, their unit `vectors` (documents, dimensions), and queries with theirs. The first
    `real` are no copies."""

    texts: Sequence[Text]
    vectors: Vectors
    queries: Sequence[str]
    query_vectors: Vectors
    real: int

    def first(self, count: int) -> Corpus:
        """The same of the first documents."""
        real = min(count, self.real)
        return Corpus(
            self.texts[:count], self.vectors[:count], self.queries, self.query_vectors, real
        )


def build_corpus(
    sets: Sequence[Path], count: int, queries: int, bi_encoder: BiEncoder, kept: Path, seed: int = 1
) -> Corpus:
    """Documents of judged sets and copies of them, with queries of their test split; the vectors of
    what is real are kept in a folder."""
    real = list(islice(chain.from_iterable(map(_passages, sets)), count))
    asked = list(islice(chain.from_iterable(map(_queries, sets)), queries))
    vectors = _kept(kept / f"passages-{len(real)}.npy", real, bi_encoder.encode_passages)
    query_vectors = _kept(kept / f"queries-{len(asked)}.npy", asked, bi_encoder.encode_queries)
    rng = np.random.default_rng(seed)
    sources = rng.integers(len(real), size=count - len(real))
    texts = chain(real, _copies(real, sources, rng))
    shares = rng.integers(SHARES, size=count).tolist()
    return Corpus(
        [Text(f"d{n:07}", *each) for n, each in enumerate(zip(texts, shares, strict=True))],
        np.concatenate([vectors, noisy(vectors[sources], rng)]),
        asked,
        query_vectors,
        len(real),
    )


def noisy(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """Unit vectors near those (n, dimensions)."""
    copies = np.empty_like(vectors)
    spread = NOISE / np.sqrt(vectors.shape[1])
    for start in range(0, len(vectors), 10_000):
        some = vectors[start : start + 10_000]
        moved = some + rng.normal(0.0, spread, some.shape).astype(np.float32)
        copies[start : start + 10_000] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return copies


def _passages(folder: Path) -> Iterator[str]:
    for _, document in read_corpus(folder):
        yield to_passage(list(document.fields.values()))


def _queries(folder: Path) -> Iterator[str]:
    yield from read_judged_set(folder, "test").queries.values()


def _copies(
    real: Sequence[str], sources: npt.NDArray[np.int64], rng: np.random.Generator
) -> Iterator[str]:
    words = [text.split() for text in real]
    pool = np.array([word for each in words[:20_000] for word in each], dtype=object)
    for source in sources:
        copy = np.array(words[source], dtype=object)
        replaced = rng.random(len(copy)) < REPLACED
        copy[replaced] = pool[rng.integers(len(pool), size=int(replaced.sum()))]
        yield " ".join(copy)


def _kept(path: Path, texts: Sequence[str], encode: object) -> Vectors:
    """Vectors of texts, of a file if they have been encoded before."""
    assert callable(encode)
    if path.exists():
        return np.asarray(np.load(path))
    batches = [
        encode(texts[start : start + ENCODED_AT_ONCE])
        for start in range(0, len(texts), ENCODED_AT_ONCE)
    ]
    vectors: Vectors = np.concatenate(batches)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, vectors)
    return vectors
