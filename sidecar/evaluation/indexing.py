"""Indexes the corpus of a BEIR folder into a collection, or takes up one that already holds it."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sidecar.errors import CollectionNotFoundError
from sidecar.evaluation.beir import read_corpus
from sidecar.recall.analyzer_choice import choose_analyzer
from sidecar.recall.catalog import Catalog
from sidecar.recall.collection import Collection
from sidecar.types import Document, Schema, TextField, to_passage

BATCH_DOCUMENTS = 500
SEARCHABLE_TIMEOUT_SECONDS = 600.0


def corpus_analyzer(folder: Path) -> str:
    """`choose_analyzer` of the first documents of a corpus."""
    passages = (to_passage(list(d.fields.values())) for _, d in read_corpus(folder))
    return choose_analyzer(passages)


def open_corpus(
    catalog: Catalog, folder: Path, analyzer: str, on_documents: Callable[[int], None]
) -> Collection:
    """The collection of this very corpus under this analyzer, searchable; indexed where missing."""
    name = _collection_name(folder, analyzer)
    try:
        collection = catalog.get(name)
    except CollectionNotFoundError:
        schema = Schema((TextField("title", analyzer), TextField("text", analyzer)))
        collection = catalog.create(name, schema)
    if collection.stats().document_count < sum(1 for _ in read_corpus(folder)):
        _index(collection, folder, on_documents)
    return collection


def _index(collection: Collection, folder: Path, on_documents: Callable[[int], None]) -> None:
    sequence = 0
    for batch in batches((document for _, document in read_corpus(folder)), BATCH_DOCUMENTS):
        sequence = collection.upsert(batch).sequence
        on_documents(len(batch))
    collection.wait_searchable(sequence, SEARCHABLE_TIMEOUT_SECONDS)


def batches(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    """Lists of `size` documents, the last one shorter."""
    iterator = iter(documents)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _collection_name(folder: Path, analyzer: str) -> str:
    """Changes with the corpus, so that kept collections are never taken for another's."""
    corpus = folder / "corpus.jsonl"
    with corpus.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    words = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower())[:32]
    return f"set-{words}-{analyzer}-{digest}"
