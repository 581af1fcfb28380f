"""Upkeep over the wire: progress, then the result; refusals; a caller that leaves."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving import CONFIG, Served, refused, serving
from things import COLLECTION, TEXTS, index_things

from sidecar.config import BackupConfig, Config
from sidecar.errors import CallerLeftError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.storage.progress import Progress
from sidecar.v1 import collection_pb2, document_pb2
from sidecar.v1.maintenance_pb2 import (
    BackupCollectionRequest,
    ListBackupsRequest,
    RestoreCollectionRequest,
    VerifyCollectionRequest,
)
from sidecar.v1.ranking_pb2 import RankingOptions
from sidecar.v1.search_pb2 import Page, SearchRequest


def with_backups(folder: Path) -> Config:
    return dataclasses.replace(CONFIG, backup=BackupConfig(str(folder / "backups")))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path / "data", with_backups(tmp_path)) as served:
        await index_things(served)
        yield served


async def last_of(call: Any, result: str) -> Any:
    """What the last response has; those before it have progress."""
    responses = [response async for response in call]
    assert [response.WhichOneof("event") for response in responses[:-1]] == ["progress"] * (
        len(responses) - 1
    )
    for response in responses[:-1]:
        assert response.progress.step
        assert response.progress.done <= response.progress.total or not response.progress.total
    assert responses[-1].WhichOneof("event") == result
    return getattr(responses[-1], result)


async def backed_up(server: Served) -> Any:
    call = server.maintenance.BackupCollection(BackupCollectionRequest(collection=COLLECTION))
    return await last_of(call, "backup")


async def described(server: Served, name: str) -> Any:
    request = collection_pb2.DescribeCollectionRequest(name=name)
    return (await server.collections.DescribeCollection(request)).collection


async def documents_of(server: Served, name: str) -> Any:
    request = document_pb2.GetDocumentsRequest(
        collection=name, doc_ids=list(TEXTS), include_vectors=True
    )
    return list((await server.documents.GetDocuments(request)).documents)


async def test_backed_up_listed_restored(server: Served) -> None:
    backup = await backed_up(server)
    assert (backup.collection, backup.document_count) == (COLLECTION, len(TEXTS))
    assert (backup.sequence, backup.bytes > 0) == (len(TEXTS), True)
    again = await backed_up(server)
    listed = (await server.maintenance.ListBackups(ListBackupsRequest())).backups
    assert list(listed) == [again, backup]
    assert backup.created.ToDatetime() < again.created.ToDatetime()
    of_others = await server.maintenance.ListBackups(ListBackupsRequest(collection="others"))
    assert list(of_others.backups) == []
    call = server.maintenance.RestoreCollection(
        RestoreCollectionRequest(backup=backup.name, collection="again")
    )
    restored = await last_of(call, "restored")
    assert (restored.collection, restored.sequence) == ("again", backup.sequence)
    assert restored.document_count == len(TEXTS)
    assert restored.rebuilt
    assert await documents_of(server, "again") == await documents_of(server, COLLECTION)
    incarnations = {(await described(server, name)).incarnation for name in ("again", COLLECTION)}
    assert len(incarnations - {""}) == 2


async def test_what_callers_kept_of_the_original_is_not_taken_for_the_restored_ones(
    server: Served,
) -> None:
    backup = await backed_up(server)
    options = RankingOptions(top_k=3)
    request = SearchRequest(collection=COLLECTION, query="thing", page=Page(), options=options)
    request.page.cursor = (await server.search.Search(request)).next_cursor
    assert request.page.cursor
    assert len((await server.search.Search(request)).ranking.hits) == 3
    await server.collections.DropCollection(collection_pb2.DropCollectionRequest(name=COLLECTION))
    restore = RestoreCollectionRequest(backup=backup.name)
    await last_of(server.maintenance.RestoreCollection(restore), "restored")
    with refused() as refusal:
        await server.search.Search(request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "CURSOR_EXPIRED")
    later = SearchRequest(collection=COLLECTION, query="thing", min_sequence=backup.sequence + 1)
    with refused() as refusal:
        await server.search.Search(later)
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "SEQUENCE_UNKNOWN",
    )
    known = SearchRequest(collection=COLLECTION, query="thing", min_sequence=backup.sequence)
    assert len((await server.search.Search(known)).ranking.hits) == len(TEXTS)


async def test_verified_while_it_serves(server: Served, tmp_path: Path) -> None:
    request = VerifyCollectionRequest(collection=COLLECTION)
    found = await last_of(server.maintenance.VerifyCollection(request), "findings")
    assert (found.sequence, found.document_count) == (len(TEXTS), len(TEXTS))
    assert list(found.findings) == []
    database = tmp_path / "data" / "collections" / COLLECTION / "documents.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM documents WHERE doc_id = 'd7'")
    connection.close()
    found = await last_of(server.maintenance.VerifyCollection(request), "findings")
    assert any("the lexical index" in finding for finding in found.findings)


@pytest.mark.parametrize(
    ("rpc", "request_", "code", "reason", "said"),
    [
        ("BackupCollection", BackupCollectionRequest(), "INVALID_ARGUMENT", "INVALID_FIELD", ""),
        (
            "BackupCollection",
            BackupCollectionRequest(collection="nothing"),
            "NOT_FOUND",
            "COLLECTION_NOT_FOUND",
            "nothing",
        ),
        ("VerifyCollection", VerifyCollectionRequest(), "INVALID_ARGUMENT", "INVALID_FIELD", ""),
        ("RestoreCollection", RestoreCollectionRequest(), "INVALID_ARGUMENT", "INVALID_FIELD", ""),
        (
            "RestoreCollection",
            RestoreCollectionRequest(backup="../../data"),
            "NOT_FOUND",
            "BACKUP_NOT_FOUND",
            "ListBackups",
        ),
    ],
)
async def test_refusals(
    server: Served, rpc: str, request_: Any, code: str, reason: str, said: str
) -> None:
    with refused() as refusal:
        await getattr(server.maintenance, rpc)(request_).read()
    assert refusal.code is grpc.StatusCode[code]
    assert refusal.reason == reason
    assert said in refusal.message


async def test_restore_refuses_names_in_use_and_what_is_damaged(
    server: Served, tmp_path: Path
) -> None:
    backup = await backed_up(server)

    async def refusal_of(name: str) -> Any:
        request = RestoreCollectionRequest(backup=backup.name, collection=name)
        with refused() as refusal:
            await last_of(server.maintenance.RestoreCollection(request), "restored")
        return refusal

    assert (await refusal_of("")).code is grpc.StatusCode.ALREADY_EXISTS
    bad = await refusal_of("../x")
    assert (bad.code, bad.field) == (grpc.StatusCode.INVALID_ARGUMENT, "collection")
    with (tmp_path / "backups" / backup.name / "documents.sqlite").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    damaged = await refusal_of("again")
    assert damaged.code is grpc.StatusCode.INTERNAL
    assert "documents.sqlite: damaged" in damaged.message
    with refused() as refusal:
        await described(server, "again")
    assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_without_a_folder_there_are_no_backups(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as server:
        await index_things(server)
        with refused() as refusal:
            await server.maintenance.ListBackups(ListBackupsRequest())
        assert (refusal.code, refusal.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "BACKUPS_OFF",
        )
        with refused() as refusal:
            await backed_up(server)
        assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_caller_that_leaves_ends_the_work(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def copy_for_ever(self: Any, folder: Path, progress: Progress) -> None:
        (folder / "documents.sqlite").write_bytes(b"half")
        step = 0
        try:
            while True:
                step += 1
                progress(f"step {step}", 0, 0)
        except CallerLeftError:
            ended.set()
            raise

    monkeypatch.setattr(EmbeddedCollection, "back_up", copy_for_ever)
    call = server.maintenance.BackupCollection(BackupCollectionRequest(collection=COLLECTION))
    assert (await call.read()).progress.step.startswith("step ")
    call.cancel()
    assert await asyncio.to_thread(ended.wait, 30)
    monkeypatch.undo()
    assert (await backed_up(server)).document_count == len(TEXTS)
    left = [path.name for path in (tmp_path / "backups").iterdir()]
    assert not any(name.startswith(".") for name in left)


async def test_a_backup_is_of_the_collection_that_has_the_name(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped and made anew while one backup of it copies and another one waits for that."""
    copied, gate = threading.Event(), threading.Event()
    back_up = EmbeddedCollection.back_up

    def back_up_and_wait(self: Any, folder: Path, progress: Progress) -> None:
        back_up(self, folder, progress)
        copied.set()
        assert gate.wait(30)

    monkeypatch.setattr(EmbeddedCollection, "back_up", back_up_and_wait)
    request = BackupCollectionRequest(collection=COLLECTION)
    first = server.maintenance.BackupCollection(request)
    assert await asyncio.to_thread(copied.wait, 30)
    second = aiter(server.maintenance.BackupCollection(request))
    assert (await anext(second)).progress.step == "waits for another backup"
    await server.collections.DropCollection(collection_pb2.DropCollectionRequest(name=COLLECTION))
    create = collection_pb2.CreateCollectionRequest(name=COLLECTION)
    await server.collections.CreateCollection(create)
    gate.set()
    with refused() as refusal:
        await last_of(first, "backup")
    assert "was dropped or moved while it was copied" in refusal.message
    assert (await last_of(second, "backup")).document_count == 0
    (listed,) = (await server.maintenance.ListBackups(ListBackupsRequest())).backups
    assert listed.document_count == 0
