"""What benchmarks have in common: server processes of their own, and what is indexed into them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sidecar.config import RegistryConfig
from sidecar.config_file import load_config
from sidecar.evaluation.indexing import corpus_analyzer, open_corpus
from sidecar.models.hub import CARRIED
from sidecar.models.load import load_bi_encoder
from sidecar.recall.catalog import Catalog
from sidecar.storage.registry import open_registry

SERVE = (sys.executable, "-m", "sidecar", "serve")


@contextlib.contextmanager
def serving(
    command: Sequence[str], log: Path | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that a server process tells on its first line, and the process, which is ended.

    What it logs is added to `log`, if one is given; a server that does not come up ends the
    benchmark with that.
    """
    environment = os.environ | (variables or {})
    with contextlib.ExitStack() as opened:
        stderr = opened.enter_context(log.open("a")) if log is not None else None
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                sys.exit(log.read_text() if log is not None else "the server did not come up")
            yield line.split()[-1], process
        finally:
            process.terminate()
            process.wait()


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def index(folder: Path, data_dir: Path) -> str:
    """The name of the collection that holds the corpus of a judged set, indexed now or earlier."""
    config = load_config(None)
    bi_encoder = load_bi_encoder(config.bi_encoder, config.runtime, data_dir)
    with contextlib.closing(Catalog.open(data_dir, bi_encoder, config)) as catalog:
        return open_corpus(catalog, folder, corpus_analyzer(folder), lambda _: None).name


def publish_carried(
    registry: Path, models: Mapping[str, str], versions: Mapping[str, int] | None = None
) -> None:
    """A registry that holds carried models (by the name that they get there) in one version, or as
    many as are asked for, the first in production."""
    opened = open_registry(RegistryConfig(url=str(registry)), registry.parent)
    for name, carried in models.items():
        for _ in range((versions or {}).get(name, 1)):
            opened.publish(CARRIED / carried, name)
        opened.move_aliases(name, {"production": "1"}, {})
