"""How far a file was acknowledged, kept beside it: an interrupted `sidecar index` goes on there."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sidecar.commands.documents import Place
from sidecar.errors import InputFileError


@dataclass(frozen=True, slots=True)
class Progress:
    """What was acknowledged: the place in the file, a digest of all before it, the last document.

    The digest covers only what was acknowledged: a file whose later lines were mended or appended
    goes on, one whose earlier lines changed starts again.
    """

    collection: str
    line: int
    byte: int
    prefix_sha256: str
    last_doc_id: str
    documents: int


class ProgressFile:
    """Keeps the progress of one input file and collection."""

    def __init__(self, path: Path, input_path: Path, collection: str) -> None:
        self._path, self._input, self._collection = path, input_path, collection
        self._digest, self._digested = hashlib.sha256(), 0

    def load(self) -> Progress | None:
        """What was acknowledged before; None without a state that fits this input."""
        try:
            progress = Progress(**json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        fits = progress.collection == self._collection
        return progress if fits and self._prefix(progress.byte) == progress.prefix_sha256 else None

    def save(self, place: Place, last_doc_id: str, documents: int) -> None:
        """Records an acknowledgement, replacing the file in one step."""
        digest = self._prefix(place.byte)
        progress = Progress(
            self._collection, place.line, place.byte, digest, last_doc_id, documents
        )
        written = self._path.with_name(self._path.name + ".tmp")
        try:
            written.write_text(json.dumps(asdict(progress)), encoding="utf-8")
            os.replace(written, self._path)
        except OSError as error:
            message = f"cannot be written: {error.strerror}; name another place with --state"
            raise InputFileError(str(self._path), None, message) from error

    def remove(self) -> None:
        """Forgets: the whole file was acknowledged."""
        self._path.unlink(missing_ok=True)

    def _prefix(self, end: int) -> str:
        """SHA-256 of the first `end` bytes; asked for rising ends, reads each byte once."""
        if end < self._digested:
            self._digest, self._digested = hashlib.sha256(), 0
        with self._input.open("rb") as file:
            file.seek(self._digested)
            while self._digested < end and (block := file.read(min(1 << 20, end - self._digested))):
                self._digest.update(block)
                self._digested += len(block)
        return self._digest.hexdigest() if self._digested == end else ""
