"""A model's name in the configuration -> the folder that holds it: carried, a path, or a hub's."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import huggingface_hub

from sidecar.errors import ModelError
from sidecar.models.formats import ONNX_FILES

CARRIED = Path(__file__).parent / "carried"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_MOVING_REVISIONS = ("", "main", "master")
_FIRST_FILES = ["*.json", "*.txt", *ONNX_FILES, *(f"{name}_data" for name in ONNX_FILES)]


def find_folder(name: str, revision: str) -> tuple[Path, str]:
    """(folder, hub revision or ""). Raises ModelError for a name that is none of the three."""
    if (CARRIED / name).is_dir() and "/" not in name:
        return CARRIED / name, ""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, ""
    if _HUB_NAME.fullmatch(name):
        return _download(name, revision)
    raise ModelError(_unknown(name))


def carried_names() -> list[str]:
    """The models that the package carries."""
    return sorted(path.parent.name for path in CARRIED.glob("*/contract.json"))


def _unknown(name: str) -> str:
    known = carried_names()
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return (
        f"there is no model {name!r}{hint}: give a folder that exists, a hub name like "
        f"organisation/model, or a carried name ({', '.join(known) or 'none here'})"
    )


def _download(name: str, revision: str) -> tuple[Path, str]:
    """The snapshot of a hub repository, small files and ONNX first, other weights only if needed.

    The hub client's own settings hold: HF_HUB_OFFLINE, HF_HOME, HF_ENDPOINT, HF_TOKEN.
    """
    if revision in _MOVING_REVISIONS or revision.startswith("refs/"):
        raise ModelError(
            f"{name} needs a pinned revision (a commit of 40 hex digits, or a tag), "
            f"not {revision or 'none'}: since otherwise its weights could change between two starts"
        )
    try:
        folder = Path(
            huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=_FIRST_FILES)
        )
        if not any((folder / file).is_file() for file in ONNX_FILES):
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=["*.safetensors"]
            )
    except Exception as error:  # the client raises its own, httpx's and the operating system's
        raise ModelError(
            f"{name} at {revision} cannot be had from the hub: {_first_line(error)}. "
            "Without a network, copy the repository's folder here and give its path instead, or "
            "fill the hub's cache elsewhere and set HF_HOME and HF_HUB_OFFLINE=1"
        ) from error
    return folder, revision


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
