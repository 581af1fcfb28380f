"""Fetches what scale_opensearch.py starts: OpenSearch with the plugins of hybrid search.

Its distribution for integration tests, from Maven Central (needs `mvn`), is kept in the folder
SIDECAR_ENGINES, as those of the tests are. It needs a Java of 21 or later: OPENSEARCH_JAVA_HOME.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

VERSION = "3.6.0"
OLDEST_JAVA = 21
NOBODY = 65534
DISTRIBUTION = f"org.opensearch.distribution.integ-test-zip:opensearch:{VERSION}"
# In the order in which one needs the other.
PLUGINS = ("opensearch-job-scheduler", "opensearch-knn", "neural-search")


def install() -> Path:
    """The folder of the distribution, made at the first call. Raises ImportError."""
    kept = kept_folder()
    home = kept / f"opensearch-{VERSION}-hybrid"
    if home.exists():
        return home
    unfinished = kept / "unfinished-hybrid"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.unpack_archive(_fetch(DISTRIBUTION, kept), unfinished)
    made = unfinished / f"opensearch-{VERSION}"
    for path in (made / "bin").iterdir():
        path.chmod(0o755)
    for plugin in PLUGINS:
        _install_plugin(made, _fetch(f"org.opensearch.plugin:{plugin}:{VERSION}.0", kept))
    made.rename(home)
    return home


def find_java() -> Path:
    """The home of a Java that is new enough. Raises ImportError."""
    named = [
        os.environ[name] for name in ("OPENSEARCH_JAVA_HOME", "JAVA_HOME") if name in os.environ
    ]
    installed = sorted(Path("/usr/lib/jvm").glob("*/release"), reverse=True)
    for home in (*map(Path, named), *(path.parent for path in installed)):
        release = home / "release"
        found = re.search(r'JAVA_VERSION="(\d+)', release.read_text() if release.exists() else "")
        if found and int(found[1]) >= OLDEST_JAVA:
            return home
    raise ImportError(f"no Java {OLDEST_JAVA} or later at OPENSEARCH_JAVA_HOME")


def kept_folder() -> Path:
    """Where engines are kept."""
    root = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    folder = Path(os.environ.get("SIDECAR_ENGINES", root / "search-sidecar-engines"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fetch(artifact: str, folder: Path) -> Path:
    _, name, version = artifact.split(":")
    path = folder / f"{name}-{version}.zip"
    if not path.exists():
        command = ["mvn", "--batch-mode", "--quiet", "dependency:copy"]
        command += [f"-Dartifact={artifact}:zip", f"-DoutputDirectory={folder}"]
        _run(command, folder)
    return path


def _install_plugin(home: Path, plugin: Path) -> None:
    command = [str(home / "bin" / "opensearch-plugin"), "install", "--batch", plugin.as_uri()]
    _run(command, home)


def _run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "OPENSEARCH_JAVA_HOME": str(find_java())}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ImportError(str(error)) from error
    if done.returncode:
        raise ImportError(f"{' '.join(command)} failed: {(done.stdout + done.stderr)[-1000:]}")
