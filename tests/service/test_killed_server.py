"""A server killed while it is written to through gRPC: what it acknowledged is there.

Writers, each with documents of its own, write from a seed while two bi-encoders are swapped. The
server is killed at random moments and at each of the points of killing.py; then its folder is
opened again: every acknowledged write is there, what was under way is there whole or not at all, no
deleted document comes back, and both indexes are what the documents say, by every bi-encoder that
was promised. SIDECAR_KILL_ROUNDS asks for more rounds than one of each kind.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from killing import POINTS, a_server, encoders, promised
from recalling import SCHEMA, WAIT_SECONDS, assert_same, scanned

from sidecar.config import Config
from sidecar.recall.catalog import Catalog
from sidecar.recall.encoding import identity_of
from sidecar.v1 import document_pb2, document_pb2_grpc

NAME = "things"
WRITERS = 3
DOCUMENTS = 30  # of each writer
ROUNDS = int(os.environ.get("SIDECAR_KILL_ROUNDS", len(POINTS) + 2))
POINT_SECONDS = 60.0
Held = dict[str, str]


@dataclass(frozen=True)
class Operation:
    """An upsert of documents with a text, or the deletion of documents (None)."""

    doc_ids: list[str]
    text: str | None
    searchable: bool

    def replay(self, held: Held) -> None:
        """What it makes of the documents."""
        for doc_id in self.doc_ids:
            if self.text is None:
                held.pop(doc_id, None)
            else:
                held[doc_id] = self.text


@dataclass
class Writer:
    """Writes its operations one after the other; `held` is by those that were acknowledged."""

    seed: int
    number: int
    held: Held = field(default_factory=dict)
    done: int = 0

    def operation(self) -> Operation:
        """The next one."""
        rng = np.random.default_rng([self.seed, self.number, self.done])
        chosen = sorted(rng.choice(DOCUMENTS, size=rng.integers(1, 8), replace=False).tolist())
        text = None if rng.random() < 0.3 else f"w{self.number}v{self.done}"
        doc_ids = [f"d{self.number}{n:03}" for n in chosen]
        return Operation(doc_ids, text, bool(rng.random() < 0.3))

    def write(self, address: str) -> None:
        """Until the server is gone."""
        with grpc.insecure_channel(address) as channel:
            stub = document_pb2_grpc.DocumentServiceStub(channel)
            while _acknowledged(stub, operation := self.operation()):
                operation.replay(self.held)
                self.done += 1

    def settle(self, found: Held) -> None:
        """The operation under way has happened, or it has not."""
        mine = {i: text for i, text in found.items() if i.startswith(f"d{self.number}")}
        if mine != self.held:
            self.operation().replay(self.held)
            self.done += 1
        assert mine == self.held


def _acknowledged(stub: document_pb2_grpc.DocumentServiceStub, operation: Operation) -> bool:
    """False if the server was killed before it said so."""
    try:
        _ask(stub, operation)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return False
        raise
    return True


def _ask(stub: document_pb2_grpc.DocumentServiceStub, operation: Operation) -> None:
    if operation.text is None:
        stub.DeleteDocuments(
            document_pb2.DeleteDocumentsRequest(collection=NAME, doc_ids=operation.doc_ids)
        )
        return
    batch = document_pb2.UpsertDocumentsRequest(
        collection=NAME,
        documents=[
            document_pb2.Document(doc_id=i, fields={"title": "common", "text": operation.text})
            for i in operation.doc_ids
        ],
        acknowledgement=1 + operation.searchable,
    )
    (acknowledged,) = stub.UpsertDocuments(iter([batch]))
    assert acknowledged.document_count == len(operation.doc_ids)


def kill(folder: Path, writers: list[Writer], leading: int, point: str, rng) -> list[int]:
    """Writes until the server is killed; returns the bi-encoders that were promised by then."""
    count = int(rng.integers(1, POINTS[point] + 1)) if point else 0
    with a_server(folder, leading, point, count) as server:
        threads = [
            threading.Thread(target=writer.write, args=(server.address,))
            for writer in writers
            if server.address  # a point may be reached while it opens its folder
        ]
        for thread in threads:
            thread.start()
        if not point:
            threads[0].join(float(rng.random() * 2.0))  # none of them ends before it is killed
            server.process.send_signal(signal.SIGKILL)
        # A point that is not reached is an error, not a kill at random.
        assert server.process.wait(POINT_SECONDS) == -signal.SIGKILL
        for thread in threads:
            thread.join()
    print(json.dumps({"point": point, "count": count, "done": [each.done for each in writers]}))
    return promised(server.said, leading)


def check(folder: Path, which: int, writers: list[Writer]) -> None:
    """What is on the disk is what was acknowledged, and both indexes find it."""
    encoder = encoders()[which]
    catalog = Catalog.open(folder, encoder, Config())
    assert catalog.unopened() == {}
    collection = catalog.get(NAME)
    assert collection.wait_searchable(collection.stats().durable_sequence, WAIT_SECONDS)
    all_ids = [f"d{w}{n:03}" for w in range(WRITERS) for n in range(DOCUMENTS)]
    read = collection.fields(all_ids)
    found = {doc_id: fields["text"] for doc_id, fields in read.items()}
    for writer in writers:
        writer.settle(found)
    assert collection.verify() == []
    lexical = collection.lexical("common", None, 1000)
    assert {each.doc_id for each in lexical.recalled} == set(found)
    query = f"common {next(iter(found.values()), '')}"
    dense = collection.dense(encoder.encode_queries([query])[0], None, 1000, identity_of(encoder))
    assert_same(
        [(each.doc_id, each.score) for each in dense.recalled],
        scanned(found, encoder, query, 1000),
    )
    catalog.close()


def points() -> Iterator[str]:
    """Every point, then twice at random, and so on."""
    return itertools.islice(itertools.cycle([*POINTS, "", ""]), ROUNDS)


def test_what_was_acknowledged_is_there_after_every_kill(tmp_path: Path):
    seed = int.from_bytes(os.urandom(4), "little")
    print(json.dumps({"seed": seed}))
    rng = np.random.default_rng(seed)
    catalog = Catalog.open(tmp_path, encoders()[0], Config())
    catalog.create(NAME, SCHEMA)
    catalog.close()
    writers = [Writer(seed, number) for number in range(WRITERS)]
    leading = 0
    for point in points():
        served = kill(tmp_path, writers, leading, point, rng)
        for which in served:
            check(tmp_path, which, writers)
        leading = served[-1]
    assert all(writer.done >= ROUNDS for writer in writers)
