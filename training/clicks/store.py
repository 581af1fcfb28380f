"""A click log as one file of a run's folder: .npz, with the names as JSON in it.

The same log gives the same bytes: members carry no time, so that digests of folders can be held
against each other. Numbers are kept as narrow as they fit and come back as they were.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import InputFileError
from training.clicks.log import ClickLog

_NAMES = ("query_names", "document_names")
_WIDE = np.dtype(np.int64)
_NARROW = (np.int8, np.int16, np.int32)


def write_clicks(log: ClickLog, path: Path) -> None:
    """Replaces the file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for field in dataclasses.fields(log):
            value = getattr(log, field.name)
            column = _to_bytes(value) if field.name in _NAMES else _narrowed(value)
            # Named by a ZipInfo the member gets a fixed date instead of the clock's.
            with archive.open(zipfile.ZipInfo(f"{field.name}.npy"), "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.ascontiguousarray(column), allow_pickle=False)


def read_clicks(path: Path) -> ClickLog:
    """What `write_clicks` wrote. Raises InputFileError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
        given: dict[str, Any] = {name: _widened(column) for name, column in columns.items()}
        given |= {name: _from_bytes(columns[name]) for name in _NAMES}
        return ClickLog(**given)
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputFileError(str(path), None, f"is no click log: {error}") from error


def _narrowed(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype != _WIDE:
        return column
    least, most = int(column.min(initial=0)), int(column.max(initial=0))
    for kind in _NARROW:
        if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max:
            return column.astype(kind)
    return column


def _widened(column: NDArray[Any]) -> NDArray[Any]:
    return column.astype(np.int64) if column.dtype.kind == "i" else column


def _to_bytes(names: tuple[str, ...]) -> NDArray[Any]:
    return np.frombuffer(json.dumps(names).encode("ascii"), dtype=np.uint8)


def _from_bytes(column: NDArray[Any]) -> tuple[str, ...]:
    return tuple(json.loads(column.tobytes().decode("ascii")))
