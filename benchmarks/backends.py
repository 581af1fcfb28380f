"""Recall of the same documents, vectors and queries, kept here and by a backend.

    python benchmarks/backends.py DIR... --backend opensearch=http://127.0.0.1:9200 [--json]

nDCG@10 and R@100 of both legs and of their fusion, and the mean share of the first ten that both
have. Documents are encoded once, by the embedded collection; a backend gets its vectors. The
collection that is made in the backend is dropped at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.commands.places import cache_folder
from sidecar.config import BackendConfig, Config, RuntimeConfig
from sidecar.evaluation.beir import JudgedSet, read_corpus, read_judged_set
from sidecar.evaluation.indexing import batches, corpus_analyzer
from sidecar.evaluation.measures import mean_measures
from sidecar.models.load import close_model, load_bi_encoder
from sidecar.recall.catalog import Catalog
from sidecar.recall.collection import Collection
from sidecar.recall.fusion import fuse
from sidecar.types import Backend, Schema, TextField

DEPTH = 200
BATCH_DOCUMENTS = 200
WAIT_SECONDS = 600.0
MEASURES = ("nDCG@10", "R@100")
# Named, so that nothing is measured first, and the vectors are the same at every run.
RUNTIME = RuntimeConfig(runtime="openvino", precision="fp32")

Runs = dict[str, dict[str, list[str]]]  # leg -> query id -> ids, best first


def main() -> None:
    """Prints a row for each leg of each kind of collection."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", metavar="DIR", type=Path, nargs="+")
    parser.add_argument("--split", default="test")
    parser.add_argument("--backend", metavar="KIND=URL", action="append", default=[])
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    backends = {
        kind: BackendConfig(kind=kind, url=url, shards=arguments.shards, timeout_seconds=60.0)
        for kind, _, url in (each.partition("=") for each in arguments.backend)
    }
    rows = [row for each in arguments.sets for row in compare(each, arguments.split, backends)]
    about = f"{platform.machine()}, Python {platform.python_version()}, {arguments.shards} shard(s)"
    if arguments.json:
        print(json.dumps({"machine": about, "rows": rows}))
        return
    print(about)
    print(f"{'set':<16}{'kept by':<12}{'leg':<10}{'nDCG@10':>9}{'R@100':>9}{'same 10':>9}")
    for row in rows:
        figures = "".join(f"{row[measure]:>9.4f}" for measure in MEASURES)
        print(f"{row['set']:<16}{row['kind']:<12}{row['leg']:<10}{figures}{row['same']:>9.3f}")


def compare(
    folder: Path, split: str, backends: Mapping[str, BackendConfig]
) -> Iterator[dict[str, Any]]:
    """The figures of one set."""
    judged, config = read_judged_set(folder, split), Config(backends=backends, runtime=RUNTIME)
    analyzer = corpus_analyzer(folder)
    schema = Schema((TextField("title", analyzer), TextField("text", analyzer)))
    with contextlib.ExitStack() as opened:
        data_dir = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        bi_encoder = load_bi_encoder(config.bi_encoder, config.runtime, cache_folder())
        opened.callback(close_model, bi_encoder)
        assert bi_encoder is not None
        queries = bi_encoder.encode_queries(list(judged.queries.values()))
        vectors = dict(zip(judged.queries, queries, strict=True))
        catalog = Catalog.open(data_dir, bi_encoder, config)
        opened.enter_context(contextlib.closing(catalog))
        here = catalog.create("here", schema)
        for batch in batches((one for _, one in read_corpus(folder)), BATCH_DOCUMENTS):
            last = here.upsert(batch).sequence
        here.wait_searchable(last, WAIT_SECONDS)
        reference = run(here, judged, vectors, config)
        yield from rows_of(judged, "embedded", reference, reference)
        for kind in backends:
            name = f"b{uuid.uuid4().hex[:12]}"
            there = catalog.create(name, schema, Backend(kind, ""))
            try:
                copy(folder, here, there)
                settle(backends[kind], there)
                yield from rows_of(judged, kind, run(there, judged, vectors, config), reference)
            finally:
                catalog.drop(name)


def copy(folder: Path, source: Collection, target: Collection) -> None:
    """All documents with their vectors."""
    for batch in batches((one for _, one in read_corpus(folder)), BATCH_DOCUMENTS):
        last = target.upsert(source.get([one.doc_id for one in batch], True)).sequence
    assert target.wait_searchable(last, WAIT_SECONDS)


def settle(backend: BackendConfig, collection: Collection) -> None:
    """Until Milvus searches its index, and not what has not come to it yet."""
    if backend.kind == "milvus":
        from pymilvus import MilvusClient

        kept = collection.describe().backend
        assert kept is not None
        with contextlib.closing(MilvusClient(backend.url)) as client:
            client.flush(kept.index)


def run(
    collection: Collection,
    judged: JudgedSet,
    vectors: Mapping[str, np.ndarray[tuple[int], np.dtype[np.float32]]],
    config: Config,
) -> Runs:
    """The rankings of all queries."""
    runs: Runs = {"lexical": {}, "dense": {}, "fused": {}}
    for query_id, text in judged.queries.items():
        lexical = collection.lexical(text, None, DEPTH).recalled
        dense = collection.dense(vectors[query_id], None, DEPTH).recalled
        fused = fuse(lexical, dense, config.fusion)
        for leg, found in (("lexical", lexical), ("dense", dense), ("fused", fused)):
            runs[leg][query_id] = [each.doc_id for each in found]
    return runs


def rows_of(judged: JudgedSet, kind: str, runs: Runs, other: Runs) -> Iterator[dict[str, Any]]:
    """One row a leg."""
    for leg, rankings in runs.items():
        means = mean_measures(rankings, judged.qrels)
        shares = [
            len(set(ranking[:10]) & set(other[leg][query_id][:10])) / max(len(ranking[:10]), 1)
            for query_id, ranking in rankings.items()
        ]
        yield {
            "set": judged.name,
            "kind": kind,
            "leg": leg,
            **{measure: means[measure] for measure in MEASURES},
            "same": sum(shares) / len(shares),
        }


if __name__ == "__main__":
    sys.exit(main())
