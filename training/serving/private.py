"""A sidecar of training's own: the same program that serves, as a child process, with the models
that are to be looked at."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sidecar.errors import ModelError

ROLES = ("bi_encoder", "first_reranker", "second_reranker")
STOP_SECONDS = 30.0
_LOG_LINES = 15
Settings = Mapping[str, Mapping[str, Any]]
NO_SETTINGS: Settings = {}


@contextlib.contextmanager
def private_sidecar(
    data_dir: Path, models: Mapping[str, str | Path], log: Path, settings: Settings = NO_SETTINGS
) -> Iterator[str]:
    """HOST:PORT of a `sidecar serve` over `data_dir` that has its models loaded; drained and ended
    at the end.

    `models`: folders or names by role (ROLES); a role left out has none. It logs no feedback.
    `settings`: further keys of its configuration by section. What it says is added to `log`.
    Raises ModelError with the end of that if it does not come up.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    config = data_dir / "sidecar.toml"
    config.write_text(_to_toml(_sections(models, settings)), encoding="utf-8")
    command = [sys.executable, "-m", "sidecar", "serve", "--data", str(data_dir)]
    command += ["--config", str(config), "--listen", "127.0.0.1:0"]
    with log.open("a", encoding="utf-8") as written:
        # Of its own session: Ctrl-C is for training, which then ends it.
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            env=_environment(),
            start_new_session=True,
        )
    with child:
        try:
            yield _address(child, log)
        finally:
            _stop(child)


def _sections(models: Mapping[str, str | Path], settings: Settings) -> dict[str, dict[str, Any]]:
    if unknown := models.keys() - set(ROLES):
        raise ValueError(f"no role of a sidecar: {sorted(unknown)}")
    sections: dict[str, dict[str, Any]] = {"feedback": {"enabled": False}}
    for role in ROLES:
        sections[role] = {"model": str(models.get(role, ""))}
    for name, keys in settings.items():
        sections[name] = sections.get(name, {}) | dict(keys)
    return sections


def _to_toml(sections: Settings) -> str:
    """JSON's strings, numbers, true and false are TOML's."""
    return "\n".join(
        f"[{name}]\n"
        + "".join(
            f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in keys.items()
        )
        for name, keys in sections.items()
    )


def _environment() -> dict[str, str]:
    """Without the configuration of a sidecar that this machine serves with."""
    return {name: text for name, text in os.environ.items() if not name.startswith("SIDECAR_")}


def _address(child: subprocess.Popen[str], log: Path) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        child.wait()
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        end = "\n".join(said[-_LOG_LINES:]) or "it said nothing"
        raise ModelError(f"a sidecar of training's own did not come up (its log is {log}):\n{end}")
    return line.split()[-1]


def _stop(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
