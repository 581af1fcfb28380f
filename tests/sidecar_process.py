"""The command line as its users meet it: real processes, and servers without models.

A start takes a second then, and no figure depends on the machine.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMMAND_SECONDS = 300
WITHOUT_MODELS = (
    '[bi_encoder]\nmodel = ""\n[first_reranker]\nmodel = ""\n[second_reranker]\nmodel = ""\n'
)


def environment(**variables: str) -> dict[str, str]:
    """This one without what would change the sidecar's configuration."""
    kept = {key: text for key, text in os.environ.items() if not key.startswith("SIDECAR_")}
    return kept | variables


def run_sidecar(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`sidecar ARGUMENTS` without a terminal, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sidecar", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        env=environment(**variables),
    )


@dataclass
class Serving:
    """A `sidecar serve` of a test's own."""

    process: subprocess.Popen[str]
    data: Path
    config: Path
    first_line: str

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.first_line.split()[-1]


@contextlib.contextmanager
def serving(folder: Path, configuration: str = WITHOUT_MODELS) -> Iterator[Serving]:
    """Serves FOLDER/data; stopped at the end if it still runs."""
    config = folder / "sidecar.toml"
    config.write_text(configuration)
    command = [sys.executable, "-m", "sidecar", "serve", "--data", str(folder / "data")]
    command += ["--listen", "127.0.0.1:0", "--config", str(config)]
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment()
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            yield Serving(process, folder / "data", config, line)
        finally:
            process.terminate()
            process.wait(COMMAND_SECONDS)
