"""`sidecar verify --data DIR`: compares the derived indexes with the documents, offline."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from sidecar.errors import InputFileError
from sidecar.models.load import close_model, load_bi_encoder
from sidecar.pipeline.resolution import load_resolved
from sidecar.recall.catalog import Catalog
from sidecar.storage.files import FolderLock
from sidecar.storage.write_ahead_log import cut, find_damage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--data", metavar="DIR", type=Path, required=True)
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration in TOML")
    parser.add_argument(
        "--cut-damaged-logs",
        action="store_true",
        help="go on without acknowledged writes that a damaged write-ahead log does not give back",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the findings of every collection; 1 if there are any."""
    if not arguments.data.is_dir():
        raise InputFileError(str(arguments.data), None, "is no data directory")
    config = load_resolved(arguments.config, arguments.data)
    FolderLock(arguments.data).release()  # says at once if a server uses it
    if arguments.cut_damaged_logs:
        cut_damaged_logs(arguments.data)
    if config.bi_encoder.model:
        note = "which a machine that has not run it yet measures first"
        print(f"loading {config.bi_encoder.model}, {note}", file=sys.stderr, flush=True)
    bi_encoder = load_bi_encoder(config.bi_encoder, config.runtime, arguments.data, config.vllm)
    with contextlib.ExitStack() as resources:
        resources.callback(close_model, bi_encoder)
        catalog = Catalog.open(arguments.data, bi_encoder, config)
        resources.callback(catalog.close)
        findings = [f"{name}: {error.message}" for name, error in catalog.unopened().items()]
        for collection in catalog.list():
            print(f"{collection.name}: {collection.stats().document_count} documents", flush=True)
            found = [*collection.repairs, *collection.verify()]
            findings += [f"{collection.name}: {finding}" for finding in found]
    print("\n".join(findings) if findings else "no finding")
    return 1 if findings else 0


def cut_damaged_logs(data: Path) -> None:
    """Says what is given up, and where it is kept."""
    for database in sorted(data.rglob("*.sqlite")):
        if damage := find_damage(database):
            kept = cut(damage)
            print(f"{damage.log}: {damage.transactions} transactions given up; all is in {kept}")
