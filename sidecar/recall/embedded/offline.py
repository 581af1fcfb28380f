"""What is wrong in the folder of a collection that nobody uses, and what a start would do with it.

Only looked at: nothing is repaired or built, and no model is loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.config import DenseIndexConfig
from sidecar.errors import DamagedError, StorageError
from sidecar.recall.embedded.comparing import lexical_findings
from sidecar.recall.embedded.generation import dense_folder
from sidecar.recall.embedded.lexical import read_lexical
from sidecar.recall.embedded.opening import LEXICAL_FOLDER, check_catches_up
from sidecar.recall.embedded.verify import compare_snapshot, last_number, open_snapshot, or_finding
from sidecar.storage.documents import DocumentStore
from sidecar.storage.progress import Progress
from sidecar.storage.read_only import EarlierFormatError
from sidecar.storage.stored_generations import StoredGeneration

_ANEW = "would be set aside and built anew from the documents"


@dataclass(slots=True)
class Examined:
    """`findings`: what is wrong; `coming`: what a start would do, which may be nothing wrong.
    `document_count` is None where the documents cannot be read."""

    name: str
    document_count: int | None = None
    findings: list[str] = field(default_factory=list)
    coming: list[str] = field(default_factory=list)


def examine(folder: Path, config: DenseIndexConfig, progress: Progress) -> Examined:
    """The collection of a folder."""
    found = Examined(folder.name)
    try:
        store = DocumentStore.open_read_only(folder)
    except EarlierFormatError as error:
        found.coming.append(f"{error.message}; it can be verified after that")
        return found
    except StorageError as error:
        found.findings.append(error.message)
        found.coming.append("would not be served, while others are")
        return found
    try:
        found.document_count = store.count
        found.findings += or_finding(lambda: store.check_integrity(progress))
        _try_index(found, "the lexical index", lambda: _lexical(found, folder, store))
        for stored in store.generations.values():
            what = f"the dense index of {stored.bi_encoder}"
            dense = functools.partial(_dense, found, folder, store, stored, config, progress)
            _try_index(found, what, dense)
    finally:
        store.close()
    return found


def _try_index(found: Examined, what: str, examine_index: Callable[[], None]) -> None:
    try:
        examine_index()
    except DamagedError as error:
        found.findings.append(f"{what} cannot be used: {error.message}")
        found.coming.append(f"{what} {_ANEW}")
    except StorageError as error:
        found.findings.append(f"{what} cannot be read now: {error.message}")
        found.coming.append(f"{what} would be tried again from time to time")
    except (ValueError, TypeError) as error:  # a flipped bit makes another type of a number
        found.findings.append(f"{what} cannot be compared: a row cannot be read: {error}")


def _lexical(found: Examined, folder: Path, store: DocumentStore) -> None:
    path = folder / LEXICAL_FOLDER
    if not path.exists():
        found.coming.append("the lexical index would be built of all documents")
        return
    index = read_lexical(path, store.header)
    check_catches_up(index, store)
    _note_lag(found, "the lexical index", index.watermark, store.sequence)
    now, recent = store.versions(), store.changed_after(index.watermark)
    found.findings += lexical_findings(now, index.entries(), now, recent)
    if index.is_outdated:
        found.coming.append("the lexical index would be brought to its present format, beside it")


def _dense(
    found: Examined,
    folder: Path,
    store: DocumentStore,
    stored: StoredGeneration,
    config: DenseIndexConfig,
    progress: Progress,
) -> None:
    what = f"the dense index of {stored.bi_encoder}"
    missing = store.count - stored.count()
    if missing:
        found.coming.append(f"{missing} documents would get a vector of {stored.bi_encoder}")
    index = open_snapshot(dense_folder(folder, stored), store, stored, config)
    now = stored.encoded()
    if index is None or not index.watermark:
        if len(now[1]):
            found.coming.append(f"{what} would be built of {len(now[1])} vectors")
        return
    _note_lag(found, what, index.watermark, last_number(now))
    found.findings += compare_snapshot(index, stored, now, progress)


def _note_lag(found: Examined, what: str, watermark: int, upto: int) -> None:
    if watermark < upto:
        found.coming.append(f"{what} would be brought from write {watermark} to {upto}")
