"""How recall holds up with many documents: speed, memory, disk, and the same of peers.

    python benchmarks/scale.py SET [SET ...] [--documents N ...] [--only NAME ...] [--queries N]
                               [--calls N] [--vectors FOLDER] [--json]

Documents are those of the sets and noise copies of them (scale_corpus.py). Of each system and each
number of documents:

docs/s          loaded a second, until all are found
disk, memory    bytes a document: of its folder; resident in its process after a start and some
                searches, less that when empty
start           seconds from a start until a search has been answered
R@100           of the dense leg against exact search, with no filter and with 1 % passing
p50, p99        milliseconds of a hybrid search for 100, as the caller sees it, in a closed loop:
                by how many at a time; `writing`: while 200 documents a second are replaced; `1 %`:
                with a filter that lets so many pass; `calls` where 20 seconds were too few for all

The sidecar is a process of its own over gRPC, as are peers that are servers; peers that are
libraries run in the process that asks, which is to their advantage; their memory is by how much it
grew. How each is set up is said in its file (scale_*.py). Systems take turns for each cell, so that
a slow minute of the machine meets all.

Peers: pip install lancedb==0.40.0 qdrant-edge-py==0.9.0 milvus-lite==3.2.2 'pymilvus>=3.0.2,<3.1'
txtai==9.14.0 (which brings torch) weaviate-client==4.23.1; OpenSearch is had by Maven
(scale_opensearch_install.py) and Weaviate by Go (scale_weaviate.py).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scale_contestants import CONTESTANTS, DEPTH, Contestant, find_contestants
from scale_corpus import SHARES, Corpus, Vectors, build_corpus, noisy

from sidecar.config import RuntimeConfig
from sidecar.config_file import load_config
from sidecar.models.load import close_model, load_bi_encoder
from sidecar.models.machine import read_machine
from sidecar.storage.files import disk_bytes

CONCURRENCIES = (1, 8, 32)
FILTERS = {"0.01 %": 1, "1 %": 100, "50 %": 5000}
WRITTEN_AT_ONCE, WRITES_A_SECOND = 20, 10
RECALL_QUERIES = 100
WARM_CALLS = 50
CELL_SECONDS = 20.0
# Of its precisions the fastest; the vectors of all systems are the same.
ENCODING = RuntimeConfig(runtime="openvino")
Row = dict[str, Any]
Maker = Callable[[Path, int], Contestant]
Makers = Mapping[str, Maker]


def main() -> None:
    arguments = parse()
    makers = find_contestants(arguments.only)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        corpus = a_corpus(arguments, Path(scratch))
        for count in arguments.documents:
            folder = Path(scratch) / str(count)
            rows += measure_all(makers, corpus.first(count), folder, arguments.calls)
    report(rows, corpus, arguments.json)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET")
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=500, help="of each cell")
    parser.add_argument("--vectors", type=Path, help="keeps those of real documents")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def a_corpus(arguments: argparse.Namespace, scratch: Path) -> Corpus:
    bi_encoder = load_bi_encoder(load_config(None).bi_encoder, ENCODING, scratch)
    assert bi_encoder is not None
    try:
        return build_corpus(
            arguments.sets,
            max(arguments.documents),
            arguments.queries,
            bi_encoder,
            arguments.vectors or scratch / "vectors",
        )
    finally:
        close_model(bi_encoder)


def measure_all(makers: Makers, corpus: Corpus, folder: Path, calls: int) -> list[Row]:
    """A row of each system; each is loaded alone, then they take turns. What comes of it is told as
    it comes; one that fails says so in its row, and is asked no more."""
    rows: dict[str, Row] = {name: {} for name in makers}
    systems: dict[str, Contestant] = {}
    with ExitStack() as running:
        for name, make in makers.items():
            with told(name, rows[name], systems):
                systems[name] = loaded(make, corpus, folder / name, running, rows[name])
        for cell in cells(corpus, calls):
            for name, system in list(systems.items()):
                with told(name, rows[name], systems):
                    rows[name] |= cell(system)
    return list(rows.values())


@contextmanager
def told(name: str, row: Row, systems: dict[str, Contestant]) -> Iterator[None]:
    """What a row has gained inside is printed; a failure takes its system out."""
    before = set(row)
    try:
        yield
    except Exception as error:  # the others are measured all the same
        row["failed"] = f"{type(error).__name__}: {error}"[:500]
        systems.pop(name, None)
    gained = {key: value for key, value in row.items() if key not in before}
    print(name, json.dumps(gained), file=sys.stderr, flush=True)


def loaded(make: Maker, corpus: Corpus, folder: Path, running: ExitStack, row: Row) -> Contestant:
    """A system with all documents, which is ended with `running`; what it took goes into a row."""
    folder.mkdir(parents=True)
    system = make(folder, corpus.vectors.shape[1])
    running.callback(system.close)
    empty = resident_bytes(system.process_id())
    started = time.perf_counter()
    system.load(corpus.texts, corpus.vectors)
    seconds = time.perf_counter() - started
    count = len(corpus.texts)
    start = system.restart()
    for query, vector in zip(corpus.queries[:WARM_CALLS], corpus.query_vectors, strict=False):
        system.hybrid(query, vector, None)
    row |= {
        "system": f"{system.name} {system.version}",
        "documents": count,
        "docs/s": count / seconds,
        "disk": disk_bytes(folder) / count,
        "memory": max(0, resident_bytes(system.process_id()) - empty) / count,
        "start": start,
    }
    return system


def cells(corpus: Corpus, calls: int) -> Iterator[Callable[[Contestant], Row]]:
    """What is measured of each system, one after the other; writes, which leave traces, at last."""
    yield lambda system: recalls(system, corpus)
    for concurrency in CONCURRENCIES:
        yield lambda system, c=concurrency: timed(system, corpus, calls, c, f"{c}")
    for name, below in FILTERS.items():
        yield lambda system, n=name, b=below: timed(system, corpus, calls, 8, n, b)
    for concurrency in CONCURRENCIES:
        yield lambda system, c=concurrency: while_writing(system, corpus, calls, c)


def recalls(system: Contestant, corpus: Corpus) -> Row:
    """Of the dense leg, against a scan in float32."""
    shares = np.array([text.share for text in corpus.texts])
    row: Row = {}
    for name, below in (("R@100", None), ("R@100 1 %", FILTERS["1 %"])):
        passing = np.arange(len(shares)) if below is None else np.flatnonzero(shares < below)
        vectors = corpus.query_vectors[:RECALL_QUERIES]
        found = [recalled(system, corpus, vector, passing, below) for vector in vectors]
        row[name] = float(np.mean(found))
    return row


def recalled(
    system: Contestant, corpus: Corpus, vector: Vectors, passing: Vectors, below: int | None
) -> float:
    """The share of the true best that is found. Ties at the border count as found."""
    scores = corpus.vectors[passing] @ vector
    depth = min(DEPTH, len(scores))
    least = np.partition(scores, -depth)[-depth]
    rows = {corpus.texts[n].doc_id: score for n, score in zip(passing, scores, strict=True)}
    # By what a stored float16 may be off.
    right = [i for i in system.dense(vector, below)[:depth] if rows.get(i, -1.0) >= least - 1e-3]
    return len(right) / depth


def timed(
    system: Contestant,
    corpus: Corpus,
    calls: int,
    concurrency: int,
    name: str,
    below: int | None = None,
) -> Row:
    """p50 and p99 of a closed loop, so many at a time; of fewer calls where these take long."""
    order = np.random.default_rng(calls).integers(len(corpus.queries), size=calls + WARM_CALLS)
    end = time.perf_counter() + CELL_SECONDS

    def ask(query: int) -> float:
        started = time.perf_counter()
        if started > end:
            return math.nan
        system.hybrid(corpus.queries[query], corpus.query_vectors[query], below)
        return time.perf_counter() - started

    with ThreadPoolExecutor(concurrency) as threads:
        times = np.array(list(threads.map(ask, order))) * 1000.0
    times = times[~np.isnan(times)]
    p50, p99 = np.percentile(times[min(WARM_CALLS, len(times) // 10) :], [50, 99])
    row = {f"{name} p50": float(p50), f"{name} p99": float(p99)}
    return row if len(times) == len(order) else row | {f"{name} calls": len(times)}


def while_writing(system: Contestant, corpus: Corpus, calls: int, concurrency: int) -> Row:
    with writing(system, corpus) as rate:
        row = timed(system, corpus, calls, concurrency, f"writing {concurrency}")
    return row | {f"writing {concurrency} docs/s": rate()}


@contextmanager
def writing(system: Contestant, corpus: Corpus) -> Iterator[Callable[[], float]]:
    """Documents are replaced inside; gives a function that says how many a second they were."""
    done, ended, started = [0], threading.Event(), time.perf_counter()
    rng = np.random.default_rng(len(corpus.texts))

    def replace() -> None:
        due = time.perf_counter()
        while not ended.wait(max(0.0, due - time.perf_counter())):
            due += 1.0 / WRITES_A_SECOND
            chosen = rng.choice(len(corpus.texts), WRITTEN_AT_ONCE, replace=False)
            system.write([corpus.texts[n] for n in chosen], noisy(corpus.vectors[chosen], rng))
            done[0] += WRITTEN_AT_ONCE

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        yield lambda: done[0] / (time.perf_counter() - started)
    finally:
        ended.set()
        thread.join()


def resident_bytes(process_id: int) -> int:
    """Of a process and its children; of this one alone, whose children are other systems."""
    alone = process_id == os.getpid()
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = _stat(path)
        if fields and process_id in (int(path.parent.name), 0 if alone else int(fields[1])):
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def _stat(path: Path) -> list[str]:
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def report(rows: Sequence[Row], corpus: Corpus, as_json: bool) -> None:
    machine = read_machine()
    about = {
        "cpu": machine.name,
        "real documents": corpus.real,
        "queries": len(corpus.queries),
        "shares": SHARES,
    }
    if as_json:
        print(json.dumps({"about": about, "rows": rows}))
        return
    print("; ".join(f"{name}: {said}" for name, said in about.items()))
    for row in rows:
        print()
        for name, figure in row.items():
            print(
                f"  {name:20} {figure:.3f}"
                if isinstance(figure, float)
                else f"  {name:20} {figure}"
            )


if __name__ == "__main__":
    main()
