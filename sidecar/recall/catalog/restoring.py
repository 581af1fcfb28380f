"""A new collection in the catalog, made of a backup. How it is made: embedded/restoring.py."""

from __future__ import annotations

from pathlib import Path

from sidecar.recall.catalog.generations import Generations
from sidecar.recall.catalog.kept import Kept
from sidecar.recall.catalog.opening import open_here
from sidecar.recall.embedded.creation import undo_creation
from sidecar.recall.embedded.restoring import adopt, unpacked
from sidecar.recall.encoding import identity_of
from sidecar.recall.schemas import check_name
from sidecar.storage.backup import Restored, read_backup
from sidecar.storage.files import rename_durably
from sidecar.storage.progress import Progress


def restore(
    kept: Kept, generations: Generations, backup: Path, name: str, progress: Progress
) -> Restored:
    """See Catalog."""
    name = name or read_backup(backup).collection
    check_name(name, "collection")
    with kept.changing:
        _check_free(kept, name)
    with unpacked(backup, kept.folder, progress) as (folder, made), kept.changing:
        _check_free(kept, name)
        progress("opens the collection", 0, 0)  # from here on it will be there
        leading = identity_of(generations.leading) if generations.leading is not None else None
        rebuilt = adopt(folder, name, leading)
        rename_durably(folder, kept.folder / name)
        _take_up(kept, generations, name)
    return Restored(name, made.sequence, made.document_count, rebuilt)


def _check_free(kept: Kept, name: str) -> None:
    kept.check_not_closed()
    kept.check_free(name)


def _take_up(kept: Kept, generations: Generations, name: str) -> None:
    """Opens what was restored; its indexes are not waited for."""
    folder = kept.folder / name
    try:
        kept.opened[name] = generations.given(open_here(kept, generations, folder))
    except BaseException:
        undo_creation(folder)
        raise
