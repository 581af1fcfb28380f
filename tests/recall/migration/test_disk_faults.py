"""The disk does not make sure of the switch or of the way back: a restart finds what serves."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from elsewhere import Elsewhere
from migrating import NAME, World
from recalling import a_document

from sidecar.errors import StorageError
from sidecar.recall import remote
from sidecar.recall.remote import RECORD, is_remote
from sidecar.storage import files


@pytest.mark.parametrize("is_undone", [True, False])
def test_the_disk_does_not_make_sure_of_the_switch(world: World, monkeypatch, is_undone: bool):
    """What serves is what a restart finds."""
    with monkeypatch.context() as disk:
        refuse_syncs(disk, lambda names: RECORD in names)
        if is_undone:
            with pytest.raises(StorageError):
                world.migrate()
        else:
            refuse(disk, "unlink")
            world.migrate()
    assert is_remote(world.folder) == isinstance(world.collection, Elsewhere) == (not is_undone)
    world.upsert(a_document(70))
    world.reopen()
    world.check()


@pytest.mark.parametrize("is_undone", [True, False])
def test_the_disk_does_not_make_sure_of_the_way_back(world: World, monkeypatch, is_undone: bool):
    world.migrate()
    with monkeypatch.context() as disk:
        refuse_syncs(disk, lambda names: RECORD not in names)
        if is_undone:
            with pytest.raises(StorageError):
                world.back()
        else:
            refuse(disk, "rename")
            world.back()
    assert is_remote(world.folder) == isinstance(world.collection, Elsewhere) == is_undone
    world.upsert(a_document(70))
    world.reopen()
    world.check()


def refuse_syncs(disk: pytest.MonkeyPatch, when: Callable[[set[str]], bool]) -> None:
    """Of the collection's folder, while it has names, by what puts the record there."""
    sync = files.sync_folder

    def broken(folder: Path) -> None:
        if folder.parts[-2:] == ("collections", NAME) and when(
            {each.name for each in folder.iterdir()}
        ):
            raise OSError(errno.EIO, "Input/output error")
        sync(folder)

    for module in (files, remote):
        disk.setattr(module, "sync_folder", broken)


def refuse(disk: pytest.MonkeyPatch, change: str) -> None:
    """To rename or unlink the record, or what it was renamed to."""
    make = getattr(Path, change)

    def broken(path: Path, *arguments, **more):
        if path.name.startswith(RECORD) and not path.name.endswith(".new"):
            raise OSError(errno.EIO, "Input/output error")
        return make(path, *arguments, **more)

    disk.setattr(Path, change, broken)
