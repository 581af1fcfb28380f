"""A disk that is full, read-only or broken: what callers are told, and that nothing is lost.

strace lets calls of a running server fail, as the kernel would, on one file at a time; a small file
system in memory is really full. Callers must get an error that names the cause, or what they asked
for; once the fault is gone the server goes on; and after it is killed, everything that it ever
acknowledged is there, and the indexes are what the documents say. `pytest -s` prints the table.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from fakes import FakeBiEncoder
from killing import Server, a_server
from recalling import SCHEMA, WAIT_SECONDS

from sidecar.config import Config
from sidecar.recall.catalog import Catalog
from sidecar.v1 import document_pb2, document_pb2_grpc, search_pb2, search_pb2_grpc

BATCHES, MOST_BATCHES = 10, 2000
SEARCHABLE_SECONDS = 2.0
CALL_SECONDS = 30.0
NEEDS_STRACE = pytest.mark.skipif(
    shutil.which("strace") is None, reason="needs strace: apt-get install strace"
)


@dataclass(frozen=True)
class Fault:
    """Calls on one file that fail: from the so many-th on ("3+"), or once ("3")."""

    file: str
    calls: str
    error: str
    when: str = "1+"
    document_bytes: int = 100

    def __str__(self) -> str:
        return f"{self.file}: {self.calls} {self.error} {self.when}"


RENAME = "rename,renameat,renameat2"
LOG, DATABASE = "documents.sqlite-wal", "documents.sqlite"
FAULTS = [
    Fault(LOG, "pwrite64", "ENOSPC"),
    Fault(LOG, "pwrite64", "EIO"),
    Fault(LOG, "pwrite64", "EROFS"),
    Fault(LOG, "pwrite64", "ENOSPC", "5"),
    Fault(LOG, "fdatasync", "EIO"),
    Fault(LOG, "fdatasync", "EIO", "2"),
    Fault(DATABASE, "pwrite64", "ENOSPC", document_bytes=900_000),
    Fault(DATABASE, "pwrite64", "EIO", document_bytes=900_000),
    Fault(DATABASE, "fdatasync", "EIO", document_bytes=900_000),
    Fault("lexical/meta.json", RENAME, "EIO"),
    Fault("lexical/meta.json", RENAME, "EROFS"),
    Fault("lexical/meta.json", RENAME, "ENOSPC", "1"),
    Fault("lexical/.managed.json", RENAME, "ENOSPC", "2+"),
    Fault("lexical", "fdatasync", "EIO"),
    Fault("dense-1/manifest.json", RENAME, "EROFS"),
    Fault("dense-1/manifest.json", RENAME, "ENOSPC"),
    Fault("dense-1", "fsync", "EIO"),
]


@contextlib.contextmanager
def injected(fault: Fault, folder: Path, process_id: int) -> Iterator[threading.Event]:
    """While the calls of a running process fail; the event: one has failed."""
    # Of a rename, strace looks at the old name only.
    command = ["strace", "-f", "-p", str(process_id)]
    command += ["-P", str(folder / fault.file), "-P", str(folder / f"{fault.file}.new")]
    command += ["-e", f"trace={fault.calls}"]
    command += ["-e", f"inject={fault.calls}:error={fault.error}:when={fault.when}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        attached, struck = threading.Event(), threading.Event()
        listener = threading.Thread(target=_listen, args=(tracer, attached, struck))
        listener.start()
        try:
            assert attached.wait(CALL_SECONDS)
            if tracer.poll() is not None:
                pytest.skip("strace may not attach to a process here: it needs CAP_SYS_PTRACE")
            yield struck
        finally:
            tracer.send_signal(signal.SIGINT)
            listener.join()


def _listen(
    tracer: subprocess.Popen[str], attached: threading.Event, struck: threading.Event
) -> None:
    assert tracer.stderr is not None
    for line in tracer.stderr:
        if "attached" in line:
            attached.set()
        if "(INJECTED)" in line:
            struck.set()
    attached.set()


@dataclass
class Client:
    """Writes to the collection, and keeps what was acknowledged and what may have happened."""

    channel: grpc.Channel
    document_bytes: int
    acknowledged: dict[str, str] = field(default_factory=dict)
    uncertain: list[dict[str, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def write(self, name: str, searchable: bool = False) -> bool:
        """A batch of three documents; whether it was acknowledged."""
        batch = {f"{name}-{n}": f"common {name} " + "x" * self.document_bytes for n in range(3)}
        try:
            self._upsert(batch, searchable)
        except grpc.RpcError as error:
            self.uncertain.append(batch)
            self.told.append(f"{error.code().name}: {error.details()}")
            return False
        self.acknowledged |= batch
        return True

    def _upsert(self, batch: dict[str, str], searchable: bool) -> None:
        request = document_pb2.UpsertDocumentsRequest(
            collection="things",
            documents=[
                document_pb2.Document(doc_id=i, fields={"text": text}) for i, text in batch.items()
            ],
            acknowledgement=1 + searchable,
        )
        stub = document_pb2_grpc.DocumentServiceStub(self.channel)
        seconds = SEARCHABLE_SECONDS if searchable else CALL_SECONDS
        (_,) = stub.UpsertDocuments(iter([request]), timeout=seconds)

    def found(self) -> int:
        """Hits of a search for everything."""
        request = search_pb2.SearchRequest(collection="things", query="common")
        request.options.top_k = 1000
        stub = search_pb2_grpc.SearchServiceStub(self.channel)
        return len(stub.Search(request, timeout=CALL_SECONDS).ranking.hits)


@contextlib.contextmanager
def a_client(server: Server, document_bytes: int) -> Iterator[Client]:
    with grpc.insecure_channel(server.address) as channel:
        yield Client(channel, document_bytes)


def make(folder: Path) -> Path:
    """A data folder with an empty collection; its folder."""
    catalog = Catalog.open(folder, FakeBiEncoder(), Config())
    catalog.create("things", SCHEMA)
    catalog.close()
    return folder / "collections" / "things"


def check(folder: Path, client: Client) -> None:
    """Everything acknowledged is there; the rest whole or not at all; the indexes agree."""
    catalog = Catalog.open(folder, FakeBiEncoder(), Config())
    assert catalog.unopened() == {}
    collection = catalog.get("things")
    assert collection.wait_searchable(collection.stats().durable_sequence, WAIT_SECONDS)
    assert collection.verify() == []
    asked = [*client.acknowledged, *(i for batch in client.uncertain for i in batch)]
    found = {i: each["text"] for i, each in collection.fields(asked).items()}
    for batch in client.uncertain:
        there = {i: found.pop(i) for i in batch if i in found}
        assert there in ({}, batch)
    assert found == client.acknowledged
    catalog.close()


@NEEDS_STRACE
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_what_fails_is_told_and_nothing_is_lost(fault: Fault, tmp_path: Path) -> None:
    folder = make(tmp_path)
    with (
        a_server(tmp_path, swaps=False) as server,
        a_client(server, fault.document_bytes) as client,
    ):
        assert client.write("before", searchable=True)
        with injected(fault, folder, server.process.pid) as struck:
            for number in range(BATCHES):
                client.write(f"during{number}", searchable=number == BATCHES - 1)
            # What is written beside comes when it comes.
            while not struck.is_set():
                number += 1
                assert number < MOST_BATCHES
                client.write(f"during{number}")
            assert client.found() >= 3
        told = list(dict.fromkeys(client.told))
        assert all(_is_clear(each, folder) for each in told)
        assert client.write("after0")
        assert client.write("after1")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    check(tmp_path, client)
    acknowledged = (len(client.acknowledged) - 9) // 3
    print(f"\n{fault} | {acknowledged} of {number + 1} | " + (" / ".join(told) or "-"))


def _is_clear(told: str, folder: Path) -> bool:
    """It names a file and a cause, or it says that what is durable is not searchable yet."""
    return str(folder) in told or told.startswith("DEADLINE_EXCEEDED")


def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        _fill(disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(disk: Path) -> None:
    folder = make(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(10 << 20))
    with a_server(disk, swaps=False) as server, a_client(server, 50_000) as client:
        assert client.write("before", searchable=True)
        written = 0
        while client.write(f"during{written}"):
            written += 1
        for number in range(5):
            client.write(f"full{number}", searchable=number == 4)
        assert client.found() >= 3
        assert all(_is_clear(each, folder) for each in client.told)
        ballast.unlink()
        assert client.write("after")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    check(disk, client)
    print(f"\nfull disk | {written} | " + " / ".join(dict.fromkeys(client.told)))
