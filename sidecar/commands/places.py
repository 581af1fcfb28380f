"""Where the command line keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

from sidecar.errors import ConfigurationError


def cache_folder() -> Path:
    """The user's cache folder for the sidecar, made if missing ($XDG_CACHE_HOME, else ~/.cache).

    Raises ConfigurationError if it cannot be made.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "search-sidecar"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{folder}: cannot be made: {error.strerror}; set XDG_CACHE_HOME or give --data"
        raise ConfigurationError(message) from error
    return folder
