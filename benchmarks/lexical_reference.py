"""The lexical leg against bm25s (method lucene, the same k1, b and terms), set by set.

    python benchmarks/lexical_reference.py DIR... [--split test] [--json]

nDCG@10 of both, and their difference: the leg is right if it stays within .01 (what remains are
document lengths, which the index keeps in one byte, and ties).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bm25s

from sidecar.config import BiEncoderConfig, Config
from sidecar.evaluation.beir import JudgedSet, read_corpus, read_judged_set
from sidecar.evaluation.indexing import corpus_analyzer, open_corpus
from sidecar.evaluation.measures import mean_measures
from sidecar.recall.analyzers import analyzer
from sidecar.recall.catalog import Catalog
from sidecar.types import to_passage

DEPTH = 100
K1, B = 1.2, 0.75
MEASURE = "nDCG@10"


def main() -> None:
    """Prints one row a set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", metavar="DIR", type=Path, nargs="+")
    parser.add_argument("--split", default="test")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [compare(folder, arguments.split) for folder in arguments.sets]
    if arguments.json:
        print(json.dumps({"machine": machine(), "rows": rows}))
        return
    print(machine())
    print(f"{'set':<24}{'queries':>8}{'lexical leg':>13}{'bm25s':>9}{'difference':>12}")
    for row in rows:
        print(
            f"{row['set']:<24}{row['queries']:>8}{row['lexical']:>13.4f}{row['bm25s']:>9.4f}"
            f"{row['lexical'] - row['bm25s']:>+12.4f}"
        )


def compare(folder: Path, split: str) -> dict[str, Any]:
    """nDCG@10 of the lexical leg and of bm25s on one set."""
    judged = read_judged_set(folder, split)
    name = corpus_analyzer(folder)
    return {
        "set": judged.name,
        "queries": len(judged.queries),
        "lexical": mean_measures(lexical_run(judged, folder, name), judged.qrels)[MEASURE],
        "bm25s": mean_measures(bm25s_run(judged, folder, name), judged.qrels)[MEASURE],
    }


def lexical_run(judged: JudgedSet, folder: Path, analyzer_name: str) -> dict[str, list[str]]:
    """The rankings of the sidecar's lexical leg."""
    config = dataclasses.replace(Config(), bi_encoder=BiEncoderConfig(model=""))
    with tempfile.TemporaryDirectory() as data_dir:
        catalog = Catalog.open(Path(data_dir), None, config)
        with contextlib.closing(catalog):
            collection = open_corpus(catalog, folder, analyzer_name, lambda documents: None)
            return {
                query_id: [one.doc_id for one in collection.lexical(text, None, DEPTH).recalled]
                for query_id, text in judged.queries.items()
            }


def bm25s_run(judged: JudgedSet, folder: Path, analyzer_name: str) -> dict[str, list[str]]:
    """The rankings of bm25s over title and text as one field."""
    to_terms = analyzer(analyzer_name)
    documents = [document for _, document in read_corpus(folder)]
    corpus = [to_terms(to_passage(list(document.fields.values()))) for document in documents]
    index = bm25s.BM25(method="lucene", k1=K1, b=B)
    index.index(corpus, show_progress=False)
    run = {}
    for query_id, text in judged.queries.items():
        terms = [to_terms(text)]
        found, scores = index.retrieve(terms, k=min(DEPTH, len(documents)), show_progress=False)
        run[query_id] = [
            documents[i].doc_id for i, s in zip(found[0], scores[0], strict=True) if s > 0
        ]
    return run


def machine() -> str:
    """What the figures were made with."""
    peers = " ".join(f"{name} {version(name)}" for name in ("bm25s", "tantivy"))
    return (
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {peers}"
    )


if __name__ == "__main__":
    sys.exit(main())
