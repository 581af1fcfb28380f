"""The checksums of tantivy's files: written by tantivy, but read by nobody until here.

Each file of a segment ends in: JSON with the CRC-32 of what is before it, the JSON's length and a
magic number, both unsigned 32-bit little-endian (tantivy, src/directory/footer.rs).
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

META = "meta.json"
_MAGIC = 1337
_TAIL = struct.Struct("<II")
_CHUNK_BYTES = 1 << 20


def check_segments(folder: Path) -> list[str]:
    """What is wrong with the files of the last commit; an index without a commit has none.

    Raises OSError for what cannot be read, which says nothing about the files.
    """
    meta_path = folder / META
    try:
        meta = json.loads(meta_path.read_bytes())
        prefixes = list(_live_prefixes(meta))
    except FileNotFoundError:
        return [f"{meta_path}: missing"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{meta_path}: damaged: {error}"]
    findings = []
    names = sorted(os.listdir(folder))
    for prefix in prefixes:
        paths = [folder / name for name in names if name.startswith(prefix)]
        if not paths:
            findings.append(f"{folder}: the files {prefix}* are missing")
        findings += [f"{path}: damaged: {fault}" for path in paths if (fault := _fault(path))]
    return findings


def has_no_commit(folder: Path) -> bool:
    """Whether the files are those of an index that was made and holds nothing. Raises OSError."""
    try:
        return list(_live_prefixes(json.loads((folder / META).read_bytes()))) == []
    except (ValueError, KeyError, TypeError):
        return False


def _live_prefixes(meta: dict[str, Any]) -> Iterator[str]:
    """Files that the last commit reads; others may be left over from a crash."""
    for segment in meta["segments"]:
        name = segment["segment_id"].replace("-", "")
        for kind in ("fast", "fieldnorm", "idx", "pos", "store", "term"):
            yield f"{name}.{kind}"
        if segment.get("deletes"):
            yield f"{name}.{segment['deletes']['opstamp']}.del"


def _fault(path: Path) -> str | None:
    content_bytes = path.stat().st_size - _TAIL.size
    with path.open("rb") as file:
        if content_bytes < 0:
            return "too short"
        file.seek(content_bytes)
        length, magic = _TAIL.unpack(file.read())
        if magic != _MAGIC or length > content_bytes:
            return "no footer"
        file.seek(content_bytes - length)
        try:
            wanted = json.loads(file.read(length))["crc"]
        except (ValueError, KeyError, TypeError):
            return "no readable footer"
        file.seek(0)
        found, left = 0, content_bytes - length
        while left > 0:
            chunk = file.read(min(left, _CHUNK_BYTES))
            found, left = zlib.crc32(chunk, found), left - len(chunk)
    return None if found == wanted else "its checksum is not the one it was written with"
