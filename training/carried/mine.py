"""Stage 2, mine: the project's own recall finds the candidates of every query.

A collection is made of what is to be searched, and for each query both legs and their fusion give
the candidates, each with its cosine and its BM25 score, which later serve as a weak teacher.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sidecar.config import Config
from sidecar.models.base import BiEncoder
from sidecar.recall.base import Recalled
from sidecar.recall.catalog import Catalog
from sidecar.recall.collection import Collection
from sidecar.recall.fusion import fuse
from sidecar.types import Document, Schema, TextField
from training.carried.queries import MiningQuery

FUSED_LEG_DEPTH = 200
# Scores are read down to this depth. Below it BM25 counts 0, a cosine costs a look at the store.
_SCORED_DEPTH = 1000
_BATCH = 500
_INDEX_TIMEOUT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class MinedList:
    """The candidates of one query in fused order.

    `cosines`, `bm25` and `fused` are their scores; `largest_bm25` is the best of the whole corpus.
    `relevance` holds the judgments of the query, or 1 for what it was made from.
    """

    query_id: str
    query: str
    source: str
    doc_ids: tuple[str, ...]
    cosines: tuple[float, ...]
    bm25: tuple[float, ...]
    fused: tuple[float, ...]
    largest_bm25: float
    relevance: Mapping[str, int]


def mine(
    name: str,
    documents: Iterable[Document],
    queries: Sequence[MiningQuery],
    depth: int,
    work: Path,
    bi_encoder: BiEncoder,
    config: Config | None = None,
) -> Iterator[MinedList]:
    """The `depth` best fused candidates of each query over `documents` (fields title and text).

    The collection stays under `work`; one that is already complete is used again.
    """
    config = config or Config()
    catalog = Catalog.open(work / "recall", bi_encoder, config)
    try:
        collection = _indexed(catalog, name, list(documents))
        for start in range(0, len(queries), _BATCH):
            batch = queries[start : start + _BATCH]
            vectors = bi_encoder.encode_queries([query.text for query in batch])
            for query, vector in zip(batch, vectors, strict=True):
                yield _mined(collection, query, vector, depth, config)
    finally:
        catalog.close()


def _indexed(catalog: Catalog, name: str, documents: list[Document]) -> Collection:
    known = {collection.name: collection for collection in catalog.list()}
    if name in known:
        if known[name].stats().searchable_sequence >= len(documents):
            return known[name]
        catalog.drop(name)
    schema = Schema((TextField("title", "english"), TextField("text", "english")))
    collection = catalog.create(name, schema)
    for start in range(0, len(documents), _BATCH):
        written = collection.upsert(documents[start : start + _BATCH])
        collection.wait_searchable(written.sequence, _INDEX_TIMEOUT_SECONDS)
    return collection


def _mined(
    collection: Collection, query: MiningQuery, vector: np.ndarray, depth: int, config: Config
) -> MinedList:
    lexical = collection.lexical(query.text, None, _SCORED_DEPTH).recalled
    dense = collection.dense(vector, None, _SCORED_DEPTH).recalled
    fused = fuse(lexical[:FUSED_LEG_DEPTH], dense[:FUSED_LEG_DEPTH], config.fusion)[:depth]
    doc_ids = tuple(recalled.doc_id for recalled in fused)
    bm25, cosines = _by_id(lexical), _by_id(dense)
    missing = [doc_id for doc_id in doc_ids if doc_id not in cosines]
    cosines |= _stored_cosines(collection, vector, missing)
    return MinedList(
        query.query_id,
        query.text,
        query.source,
        doc_ids,
        tuple(cosines[doc_id] for doc_id in doc_ids),
        tuple(bm25.get(doc_id, 0.0) for doc_id in doc_ids),
        tuple(recalled.score for recalled in fused),
        lexical[0].score if lexical else 0.0,
        query.relevance,
    )


def _stored_cosines(
    collection: Collection, vector: np.ndarray, doc_ids: Sequence[str]
) -> dict[str, float]:
    """From the vectors themselves, for what only the lexical leg found."""
    return {
        document.doc_id: float(np.dot(vector, np.asarray(document.vector, np.float32)))
        for document in collection.get(doc_ids, include_vectors=True)
    }


def _by_id(recalled: Sequence[Recalled]) -> dict[str, float]:
    return {one.doc_id: one.score for one in recalled}


def write_lists(lists: Iterable[MinedList], path: Path) -> None:
    """One JSON object a line."""
    with path.open("w", encoding="utf-8") as out:
        for one in lists:
            out.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")


def read_lists(path: Path) -> list[MinedList]:
    """What `write_lists` wrote."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    sequences = ("doc_ids", "cosines", "bm25", "fused")
    return [MinedList(**{**row, **{key: tuple(row[key]) for key in sequences}}) for row in rows]
