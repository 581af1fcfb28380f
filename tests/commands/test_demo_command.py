"""`sidecar demo` without a terminal: it shows its queries and ends by itself."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

from sidecar_process import COMMAND_SECONDS, environment, run_sidecar

from sidecar.config import Config
from sidecar.recall.catalog import Catalog

MODULES = "difflib,itertools,json"
WITHOUT_MODELS = {
    f"SIDECAR_{section}__MODEL": ""
    for section in ("BI_ENCODER", "FIRST_RERANKER", "SECOND_RERANKER")
}


def demo(tmp_path: Path, modules: str = MODULES):
    variables = {"XDG_CACHE_HOME": str(tmp_path), **WITHOUT_MODELS}
    done = run_sidecar("demo", "--modules", modules, **variables)
    assert done.returncode == 0, done.stderr
    return done


def test_shows_its_queries_indexes_once_and_ends(tmp_path: Path) -> None:
    first = demo(tmp_path)
    assert "? compare two texts and show the differences" in first.stdout
    assert "difflib.Differ" in first.stdout
    assert "\033[" not in first.stdout
    assert max(map(len, first.stdout.splitlines())) <= 80
    marker = tmp_path / "search-sidecar" / "demo" / "demo.json"
    written = marker.stat().st_mtime_ns
    demo(tmp_path)
    assert marker.stat().st_mtime_ns == written
    other = demo(tmp_path, "json")
    assert marker.stat().st_mtime_ns != written
    assert "difflib.Differ" not in other.stdout


def test_ended_by_a_signal_it_takes_its_sidecar_along(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sidecar", "demo", "--modules", "json"]
    variables = environment(XDG_CACHE_HOME=str(tmp_path), **WITHOUT_MODELS)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=variables
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("indexing"):
                break
        process.terminate()
        assert process.wait(COMMAND_SECONDS) == 128 + signal.SIGTERM
    # Had it stayed behind, it would still hold the data directory.
    with contextlib.closing(Catalog.open(tmp_path / "search-sidecar" / "demo", None, Config())):
        pass


def test_a_server_that_cannot_start_is_said_in_one_sentence(tmp_path: Path) -> None:
    done = run_sidecar("demo", XDG_CACHE_HOME=str(tmp_path), SIDECAR_RECALL__LEXICAL_DEPTH="0")
    assert done.returncode == 1
    assert "the sidecar did not start: sidecar: recall.lexical_depth is 0" in done.stderr
    assert "Traceback" not in done.stderr
