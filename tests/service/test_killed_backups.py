"""A server killed while it makes backups and is written to through gRPC: what it answered with is a
backup, what is listed is whole, and each is what was acknowledged up to its sequence number."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from sidecar_process import WITHOUT_MODELS, serving

from sidecar.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2,
    document_pb2_grpc,
    maintenance_pb2,
    maintenance_pb2_grpc,
)

NAME = "things"
ROUNDS = 2
BACKUPS = 3  # that are answered before the kill may come
IDS = [f"d{n}" for n in range(40)]


@dataclass
class Writer:
    """Writes one document after the other; `texts` by the sequence number that acknowledged it."""

    address: str
    seed: int
    texts: dict[int, tuple[str, str]] = field(default_factory=dict)

    def run(self) -> None:
        """Until the server is gone."""
        with grpc.insecure_channel(self.address) as channel, contextlib.suppress(grpc.RpcError):
            sent: list[tuple[str, str]] = []
            stub = document_pb2_grpc.DocumentServiceStub(channel)
            answers = stub.UpsertDocuments(self._requests(sent))
            for number, answer in enumerate(answers):
                self.texts[answer.sequence] = sent[number]

    def _requests(
        self, sent: list[tuple[str, str]]
    ) -> Iterator[document_pb2.UpsertDocumentsRequest]:
        chance = random.Random(self.seed)
        for number in range(1_000_000):
            sent.append((chance.choice(IDS), f"s{self.seed}n{number}"))
            doc_id, text = sent[-1]
            document = document_pb2.Document(doc_id=doc_id, fields={"text": text})
            yield document_pb2.UpsertDocumentsRequest(collection=NAME, documents=[document])


@dataclass
class Keeper:
    """Makes one backup after the other; `made` are those that it was told of."""

    address: str
    made: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until the server is gone."""
        request = maintenance_pb2.BackupCollectionRequest(collection=NAME)
        with grpc.insecure_channel(self.address) as channel, contextlib.suppress(grpc.RpcError):
            stub = maintenance_pb2_grpc.MaintenanceServiceStub(channel)
            while True:
                *_, last = stub.BackupCollection(request)
                self.made.append(last.backup.name)
                if len(self.made) == BACKUPS:
                    self.enough.set()


def test_backups_of_a_server_that_is_killed(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print({"seed": seed})
    configuration = f'{WITHOUT_MODELS}[backup]\nfolder = "{tmp_path / "backups"}"\n'
    texts: dict[int, tuple[str, str]] = {}
    made: list[str] = []
    for number in range(ROUNDS):
        with serving(tmp_path, configuration) as server:
            if not number:
                create(server.address)
            writer, keeper = Writer(server.address, seed + number), Keeper(server.address)
            threads = [threading.Thread(target=each.run) for each in (writer, keeper)]
            for thread in threads:
                thread.start()
            assert keeper.enough.wait(120)
            keeper_wait = random.Random(seed + number).random() * 0.2
            threads[1].join(keeper_wait)  # it does not end: it is killed after so long
            server.process.kill()
            for thread in threads:
                thread.join()
        assert writer.texts
        texts |= writer.texts
        made += keeper.made
    with serving(tmp_path, configuration) as server, grpc.insecure_channel(server.address) as on:
        check(on, texts, made)
    assert len(made) >= ROUNDS * BACKUPS


def create(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        collection_pb2_grpc.CollectionServiceStub(channel).CreateCollection(
            collection_pb2.CreateCollectionRequest(name=NAME)
        )


def check(channel: grpc.Channel, texts: dict[int, tuple[str, str]], made: list[str]) -> None:
    stub = maintenance_pb2_grpc.MaintenanceServiceStub(channel)
    listed = stub.ListBackups(maintenance_pb2.ListBackupsRequest()).backups
    assert set(made) <= {backup.name for backup in listed}
    assert len(listed) <= len(made) + ROUNDS, "what was under way may be whole, nothing else"
    for number, backup in enumerate(listed):
        name = f"restored-{number}"
        request = maintenance_pb2.RestoreCollectionRequest(backup=backup.name, collection=name)
        *_, last = stub.RestoreCollection(request)
        assert last.restored.sequence == backup.sequence
        held = {
            doc_id: text
            for sequence, (doc_id, text) in sorted(texts.items())
            if sequence <= backup.sequence
        }
        found = read(channel, name)
        unacknowledged = set(range(1, backup.sequence + 1)) - texts.keys()
        differing = {doc_id for doc_id in IDS if found.get(doc_id) != held.get(doc_id)}
        # Of each stream, what was under way, and answers that a busy client had not read yet.
        assert len(differing) <= len(unacknowledged) < len(texts) / 2


def read(channel: grpc.Channel, name: str) -> dict[str, str]:
    stub = document_pb2_grpc.DocumentServiceStub(channel)
    reply = stub.GetDocuments(document_pb2.GetDocumentsRequest(collection=name, doc_ids=IDS))
    return {document.doc_id: document.fields["text"] for document in reply.documents}
