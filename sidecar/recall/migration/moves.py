"""What can be done with the place of a collection: moved to a backend, moved back, or left.

The folder of a collection that was moved has all that it had, and beside it the record of the
backend, which is what opens (backends.py): writing it is the switch, removing it the way back.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from sidecar.config import Config
from sidecar.errors import MigrationError, SidecarError, UnsupportedError
from sidecar.models.base import BiEncoder
from sidecar.recall.backends import (
    KeptCollection,
    discard_remote,
    open_remote,
    prepared_remote,
)
from sidecar.recall.migration.comparison import Comparer, Comparison
from sidecar.recall.migration.ledger import FILE_NAME, Ledger
from sidecar.recall.migration.migration import Migrated, Migration, Terms
from sidecar.recall.migration.pace import Pace
from sidecar.recall.movable import HoldableCollection, MovableCollection
from sidecar.recall.remote import RECORD, is_remote, new_record, remove_record, write_or_withdraw
from sidecar.storage.files import remove_tree, storage_errors, sync_folder
from sidecar.storage.progress import Progress, unheard
from sidecar.types import Backend

# What leads again gets so long to have its indexes, which are served behind a leg's reason else.
CATCH_UP_SECONDS = 60.0
# BACK without a record: the way back was made, only the ledger was left.
SWITCHED, BACK, FINISHING = "switched", "back", "finishing"

_log = logging.getLogger(__name__)


class MovableKept(KeptCollection, MovableCollection, Protocol):
    """What the catalog keeps in a folder of the server's own."""


Exchanging = Callable[[KeptCollection], AbstractContextManager[Callable[[KeptCollection], None]]]


@dataclass(frozen=True, slots=True)
class Moving:
    """A collection that nobody else moves, its folder, and the parts of the catalog that has it.

    `exchanging` is a context for the collection that has the name, which gives what makes the name
    stand for another one. `open_here` opens what the folder itself has. `refusal` is why a
    collection cannot have the generations that are wanted beside the leading one, or empty.
    """

    collection: KeptCollection
    folder: Path
    bi_encoder: BiEncoder | None
    config: Config
    exchanging: Exchanging
    open_here: Callable[[], MovableKept]
    refusal: Callable[[KeptCollection], str]

    def ledger(self) -> Ledger:
        """Raises MigrationError if there is none."""
        ledger = Ledger.find(self.folder)
        if ledger is None:
            raise MigrationError(
                f"collection {self.collection.name!r} was not moved, nor is it now"
            )
        return ledger


def move(moving: Moving, backend: Backend, terms: Terms, progress: Progress = unheard) -> Migrated:
    """Copies a collection of the server's own folder to a backend while it serves, and has its name
    stand for the copy once both are alike; goes on with what broke off.

    Raises InvalidFieldError, MigrationError, UnsupportedError, StorageError, BackendError,
    BackendUnavailableError: then it is where it was, and it can be asked for again.
    """
    if is_remote(moving.folder):
        name = moving.collection.name
        raise MigrationError(f"collection {name!r} is kept by a backend already")
    source = cast(MovableKept, moving.collection)  # all that are kept here can be moved
    if backend.mapping or backend.read_only:
        raise UnsupportedError(
            "a collection is moved to an index of the sidecar's own: leave "
            "mapping and read_only out"
        )
    with (
        contextlib.closing(_ledger_of(moving, source, backend)) as ledger,
        contextlib.ExitStack() as opened,
    ):
        target = open_remote(ledger.record, moving.bi_encoder, moving.config)
        opened.callback(target.close)
        _check_generations(moving, target)

        @contextlib.contextmanager
        def switching() -> Iterator[Callable[[], None]]:
            with moving.exchanging(source) as exchange, source.held():

                def switch() -> None:
                    _check_generations(moving, target)
                    ledger.enter(SWITCHED)
                    write_or_withdraw(moving.folder, ledger.record)
                    source.hand_over(target)
                    exchange(target)
                    opened.pop_all()

                yield switch

        migrated = Migration(source, target, ledger, terms, progress).run(switching)
        _put_aside(source)
        return migrated


def move_back(
    moving: Moving, discard_writes: bool = False, progress: Progress = unheard
) -> Migrated:
    """Before the switch: gives a migration up, with its copy. After it: has the name stand for the
    collection in the server's own folder again, as it was then; the index stays as it is.

    Raises MigrationError, if documents were written or deleted since the switch and are not to be
    discarded; what `move` raises.
    """
    with contextlib.closing(moving.ledger()) as ledger:
        if not is_remote(moving.folder):
            if ledger.stage != BACK:
                discard_remote(ledger.record, moving.config)
            ledger.remove()
            return _migrated(moving.collection, Comparison())
        if ledger.stage == FINISHING:
            raise MigrationError("what was here is being removed already: there is no way back")
        return _switch_back(moving, ledger, discard_writes, progress)


def finish(moving: Moving) -> Migrated:
    """Removes what a collection that was moved has left in the server's own folder."""
    with contextlib.closing(moving.ledger()) as ledger:
        if not is_remote(moving.folder):
            raise MigrationError(
                f"collection {moving.collection.name!r} is still kept here: migrate it first"
            )
        ledger.enter(FINISHING)
        with storage_errors(moving.folder):
            for path in sorted(moving.folder.iterdir()):
                if path.name != RECORD and not path.name.startswith(FILE_NAME):
                    remove_tree(path) if path.is_dir() else path.unlink(missing_ok=True)
            sync_folder(moving.folder)
        ledger.remove()
    with contextlib.suppress(SidecarError):  # it counts, for `describe`; all is done without
        moving.collection.stats()
    return _migrated(moving.collection, Comparison())


def _check_generations(moving: Moving, target: KeptCollection) -> None:
    if refusal := moving.refusal(target):
        raise MigrationError(
            f"another bi-encoder is being brought in, which must end first, then ask again: "
            f"{refusal}"
        )


def _put_aside(source: MovableCollection) -> None:
    try:
        source.put_aside()
    except Exception:
        # It has moved, whatever is left open of it until the next start.
        _log.exception("collection %s has moved, but is not closed as it was", source.name)


def _ledger_of(moving: Moving, source: MovableCollection, backend: Backend) -> Ledger:
    """That of the migration to go on with, or of a new one, whose index is made."""
    ledger = Ledger.find(moving.folder)
    if ledger is not None and ledger.stage == BACK:
        ledger.remove()
    elif ledger is not None:
        begun = ledger.record.backend
        if begun.name != backend.name or backend.index not in ("", begun.index):
            ledger.close()
            raise MigrationError(
                f"collection {source.name!r} is being moved to index {begun.index!r} of backend "
                f"{begun.name!r}: go on with that, or give it up first"
            )
        return ledger
    record = new_record(source.name, source.schema, backend, source.changes().identity)
    with prepared_remote(moving.folder, record, moving.config) as prepared:
        return Ledger.create(moving.folder, prepared)


def _switch_back(
    moving: Moving, ledger: Ledger, discard_writes: bool, progress: Progress
) -> Migrated:
    here, there = moving.open_here(), cast(HoldableCollection, moving.collection)
    try:
        compared = there.stats().durable_sequence  # and all before it
        comparison = _since_the_switch(moving, here, ledger, progress)
        if comparison.findings and not discard_writes:
            raise _would_lose("; ".join(comparison.findings))
        progress("catches up", 0, 0)
        here.wait_searchable(here.durable_sequence, CATCH_UP_SECONDS)
        with there.held(), moving.exchanging(moving.collection) as exchange:
            if there.stats().durable_sequence > compared and not discard_writes:
                raise _would_lose("documents were written or deleted while both were compared")
            ledger.enter(BACK)
            remove_record(moving.folder)
            exchange(here)
            there.hand_over(here)
    except BaseException:
        here.close()
        raise
    ledger.remove()
    return _migrated(here, comparison)


def _would_lose(findings: str) -> MigrationError:
    return MigrationError(
        "what was written since the switch is not in what is kept here, and is searched no more if "
        f"it leads again: {findings}. Ask for it with discard_writes if that is what you want; the "
        "index stays as it is"
    )


def _since_the_switch(
    moving: Moving, here: MovableKept, ledger: Ledger, progress: Progress
) -> Comparison:
    """What the index has otherwise than it was. New documents are known by their number only."""
    changes, there = here.changes(), moving.collection
    identity = ledger.record.bi_encoder
    comparer = Comparer(
        here,
        changes,
        there,
        identity,
        lambda: None,
        Pace(),
        progress,
        vectors_of_chunk=sys.maxsize,  # one may have been written for its vector only
    )
    found = comparer.compare_documents()
    if more := there.stats().document_count - changes.count:
        found.findings.append(f"there are {more:+} documents there")
    return found


def _migrated(collection: KeptCollection, comparison: Comparison) -> Migrated:
    described = collection.describe()
    return Migrated(
        described.name,
        described.incarnation,
        described.backend,
        described.document_count,
        comparison,
    )
