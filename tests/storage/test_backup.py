"""Backups are whole or not there, whatever ends the making; what was damaged since is refused."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import BackupNotFoundError, BackupsOffError, DamagedError, StorageError
from sidecar.storage.backup import MANIFEST, Backups, unpack
from sidecar.storage.documents import DocumentStore
from sidecar.storage.files import FolderLock
from sidecar.storage.headers import Header
from sidecar.storage.progress import unheard
from sidecar.types import Document, Schema

COUNT = 300
KILLED = 9


def a_store(folder: Path, count: int = COUNT) -> DocumentStore:
    folder.mkdir(parents=True)
    store = DocumentStore.create(folder, Header("id", "things", Schema()))
    documents = [Document(f"d{n}", {"title": "t", "text": f"word{n}"}) for n in range(count)]
    store.write(documents, [None] * count, None)
    return store


@pytest.fixture
def store(tmp_path: Path):
    store = a_store(tmp_path / "things")
    yield store
    store.close()


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return Backups(str(tmp_path / "backups"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_made_listed_unpacked(tmp_path: Path, store: DocumentStore, backups: Backups) -> None:
    assert backups.list() == []
    first = backups.make("things", store.copy_to, unheard)
    store.delete(["d1"])
    second = backups.make("things", store.copy_to, unheard)
    other = backups.make("others", store.copy_to, unheard)
    assert backups.list() == [other, second, first]
    assert backups.list("things") == [second, first]
    assert (first.sequence, first.document_count) == (COUNT, COUNT)
    assert (second.sequence, second.document_count) == (COUNT + 1, COUNT - 1)
    assert first.name.startswith("things-")
    assert first.created < second.created
    assert first.bytes == (backups.path(first.name) / "documents.sqlite").stat().st_size
    assert unpack(backups.path(first.name), tmp_path / "again", unheard) == first
    again = DocumentStore.open(tmp_path / "again")
    assert (again.count, again.sequence) == (COUNT, COUNT)
    again.close()


def test_what_writing_raises_leaves_nothing(tmp_path: Path, backups: Backups) -> None:
    def fail(folder: Path, progress: object) -> None:
        (folder / "documents.sqlite").write_bytes(b"half")
        raise KeyError("the reason")

    with pytest.raises(KeyError, match="the reason"):
        backups.make("things", fail, unheard)
    assert names(tmp_path / "backups") == {"lock"}


@pytest.mark.parametrize("step", ["copies documents", "takes digests"])
def test_who_leaves_ends_it(tmp_path: Path, backups: Backups, step: str) -> None:
    store = a_store(tmp_path / "large", 5_000)

    def leave(current: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        if current == step:
            raise KeyError("left")

    with pytest.raises(KeyError, match="left"):
        backups.make("large", store.copy_to, leave)
    assert names(tmp_path / "backups") == {"lock"}
    store.close()


def test_another_process_that_makes_one_is_in_the_way(
    tmp_path: Path, store: DocumentStore, backups: Backups
) -> None:
    lock = FolderLock(tmp_path / "backups")
    with pytest.raises(StorageError, match="in use by another sidecar"):
        backups.make("things", store.copy_to, unheard)
    lock.release()
    backups.make("things", store.copy_to, unheard)


def test_a_disk_without_room_is_not_filled(
    tmp_path: Path, store: DocumentStore, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = backups.make("things", store.copy_to, unheard)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 5}))
    with pytest.raises(StorageError, match="bytes are needed, 5 are free"):
        unpack(backups.path(made.name), tmp_path / "again", unheard)
    assert names(tmp_path / "again") == set()


@pytest.mark.parametrize("refused", ["sync_file", "sync_folder", "rename_durably", "check_room"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_what_the_disk_refuses_is_said_and_nothing_is_left(
    tmp_path: Path,
    store: DocumentStore,
    backups: Backups,
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
    code: int,
) -> None:
    before = backups.make("things", store.copy_to, unheard)

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    where = "sidecar.storage.database" if refused == "check_room" else "sidecar.storage.backup"
    monkeypatch.setattr(f"{where}.{refused}", refuse)
    with pytest.raises(StorageError, match="disk"):
        backups.make("things", store.copy_to, unheard)
    monkeypatch.undo()
    assert names(tmp_path / "backups") == {"lock", before.name}
    assert backups.list() == [before]


def test_without_a_folder_there_are_none(store: DocumentStore) -> None:
    off = Backups("")
    calls: list[Callable[[], Any]] = [
        off.list,
        lambda: off.path("things-20260101T000000.000Z"),
        lambda: off.make("things", store.copy_to, unheard),
    ]
    for call in calls:
        with pytest.raises(BackupsOffError, match=r"backup\.folder"):
            call()


@pytest.mark.parametrize("name", ["", "things", "..", "../data", "/etc", ".unfinished-x", "lock"])
def test_only_names_of_backups_lead_to_one(
    store: DocumentStore, backups: Backups, name: str
) -> None:
    backups.make("things", store.copy_to, unheard)
    with pytest.raises(BackupNotFoundError):
        backups.path(name)


def test_a_flipped_byte_in_any_file_is_refused_with_its_name(
    tmp_path: Path, store: DocumentStore, backups: Backups
) -> None:
    made = backups.make("things", store.copy_to, unheard)
    folder = backups.path(made.name)
    assert names(folder) == {MANIFEST, "documents.sqlite"}
    targets = (tmp_path / f"unpacked-{number}" for number in itertools.count())
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for at in (0, 70, len(content) // 2, len(content) - 1):
            damaged = bytearray(content)
            damaged[at] ^= 0x10
            path.write_bytes(damaged)
            with pytest.raises(DamagedError, match=f"{path.name}: damaged"):
                unpack(folder, next(targets), unheard)
        for cut in (content[:-1], content + b"\0", b""):
            path.write_bytes(cut)
            with pytest.raises(DamagedError, match=f"{path.name}: damaged"):
                unpack(folder, next(targets), unheard)
        path.unlink()
        with pytest.raises(DamagedError, match=f"{path.name}: missing"):
            unpack(folder, next(targets), unheard)
        path.write_bytes(content)
    unpack(folder, next(targets), unheard)


def signed(manifest: dict[str, Any]) -> bytes:
    body = json.dumps(manifest).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@pytest.mark.parametrize("name", ["../outside", "/outside", "", ".", "..", "a/b", "./a"])
def test_a_manifest_leads_out_of_no_folder(
    tmp_path: Path, store: DocumentStore, backups: Backups, name: str
) -> None:
    folder = backups.path(backups.make("things", store.copy_to, unheard).name)
    (tmp_path / "backups" / "outside").write_bytes(b"x")
    manifest = json.loads((folder / MANIFEST).read_bytes().partition(b"\n")[2])
    manifest["files"] = {name: {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}}
    (folder / MANIFEST).write_bytes(signed(manifest))
    with pytest.raises(DamagedError, match="is no name of a file in a backup"):
        unpack(folder, tmp_path / "again", unheard)
    assert names(tmp_path / "again") == set()
    assert not (tmp_path / "outside").exists()


def test_what_the_disk_of_a_backup_reports_is_said_of_it(
    tmp_path: Path, store: DocumentStore, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = backups.path(backups.make("things", store.copy_to, unheard).name)

    class Failing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    open_one = Path.open

    def opened(path: Path, mode: str = "r", **others: Any) -> Any:
        is_of_backup = mode == "rb" and path.name == "documents.sqlite"
        return Failing(path) if is_of_backup else open_one(path, mode, **others)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(StorageError) as told:
        unpack(folder, tmp_path / "again", unheard)
    assert told.value.metadata == {"path": str(folder / "documents.sqlite")}


def test_folders_above_the_first_backup_are_on_the_disk(
    tmp_path: Path, store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("sidecar.storage.files.sync_folder", synced.append)
    folder = tmp_path / "a" / "b" / "backups"
    Backups(str(folder)).list()
    assert set(synced) == {tmp_path, tmp_path / "a", tmp_path / "a" / "b"}
    synced.clear()
    Backups(str(folder)).list()
    assert synced == []


def test_a_damaged_manifest_does_not_keep_the_others_from_being_listed(
    store: DocumentStore, backups: Backups
) -> None:
    first, second = (backups.make("things", store.copy_to, unheard) for _ in range(2))
    (backups.path(first.name) / MANIFEST).write_bytes(b"{}")
    assert backups.list() == [second]


def test_a_newer_format_says_so(
    tmp_path: Path,
    store: DocumentStore,
    backups: Backups,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sidecar.storage.backup.FORMAT", 2)
    made = backups.make("things", store.copy_to, unheard)
    monkeypatch.undo()
    with pytest.raises(StorageError, match="newer sidecar"):
        unpack(backups.path(made.name), tmp_path / "again", unheard)


def test_a_backup_of_an_earlier_version_still_opens(tmp_path: Path) -> None:
    """backup-1.zip was written by this project's code when 1 was the FORMAT of backups. A new
    format gets a new file; the old ones stay."""
    with zipfile.ZipFile(Path(__file__).parent / "formats" / "backup-1.zip") as files:
        files.extractall(tmp_path / "backups")
    backups = Backups(str(tmp_path / "backups"))
    (found,) = backups.list("things")
    assert (found.sequence, found.document_count) == (4, 2)
    unpack(backups.path(found.name), tmp_path / "again", unheard)
    store = DocumentStore.open(tmp_path / "again")
    assert store.get(["a/1", "ä", "gone"], include_vectors=True) == [
        Document("a/1", {"title": "Red fox", "text": "runs"}, {"year": 1999}, [1.0, 0.0, 0.0, 0.0]),
        Document("ä", {"text": "Blue owl"}, {}, [1.0, 0.0, 0.0, 0.0]),
    ]
    store.close()


def test_killed_at_any_step_it_is_whole_or_not_there(tmp_path: Path) -> None:
    """The child dies at its first step, then at its second, and so on until it comes to its end."""
    call = f"import test_backup; test_backup.killed_step_by_step({str(tmp_path)!r})"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", call],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rounds = json.loads(done.stdout)
    assert len(rounds) > 12
    whole = [found["listed"] for found in rounds]
    assert whole == sorted(whole), "once whole, always whole"
    assert whole[0] == 0
    assert whole[-1] > 0
    assert any(found["unfinished"] for found in rounds), "none was killed half way"
    assert not rounds[-1]["unfinished"], "what was left is removed by the next one"


def killed_step_by_step(folder: str) -> None:
    """The child: prints what is found after each death. It forks before it has any thread."""
    root, rounds = Path(folder), []
    a_store(root / "things").close()
    code = KILLED
    while code == KILLED:
        child = os.fork()
        if child == 0:
            _make_and_die(root, len(rounds))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        rounds.append(_found(root))
    assert code == 0
    print(json.dumps(rounds))


def _make_and_die(root: Path, steps: int) -> None:
    """Dies before the step of that number: whatever Python does with the folder of backups, and
    whatever is told of progress."""
    left = steps

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os._exit(KILLED)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if any("backups" in str(each) for each in arguments if isinstance(each, str | Path)):
            step()

    store = DocumentStore.open(root / "things")
    backups = Backups(str(root / "backups"))
    sys.addaudithook(audit)
    backups.make("things", store.copy_to, lambda *_: step())
    os._exit(0)


def _found(root: Path) -> dict[str, Any]:
    """What a restore would find; everything that is listed is unpacked and counted."""
    backups = Backups(str(root / "backups"))
    unpacked = root / "unpacked"
    for backup in backups.list():
        unpack(backups.path(backup.name), unpacked, unheard)
        store = DocumentStore.open(unpacked)
        assert (store.count, store.check_integrity()) == (COUNT, [])
        store.close()
        for path in unpacked.iterdir():
            path.unlink()
        unpacked.rmdir()
    unfinished = [name for name in names(root / "backups") if name.startswith(".")]
    return {"listed": len(backups.list()), "unfinished": len(unfinished)}
