"""`sidecar restore BACKUP`: makes a new collection of a backup.

In a running sidecar, which serves it at once; or with --data in a folder that none uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from sidecar.commands.connection import connect
from sidecar.commands.search import DEFAULT_ADDRESS
from sidecar.commands.upkeep import Told, add_address, result_of
from sidecar.config_file import load_config
from sidecar.errors import InputFileError
from sidecar.storage.backup import Backups
from sidecar.v1 import maintenance_pb2, maintenance_pb2_grpc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "backup", metavar="BACKUP", help="its name; with --data its folder, or its name"
    )
    parser.add_argument(
        "--as",
        dest="name",
        metavar="NAME",
        default="",
        help="of the new collection (that of the one it was made of)",
    )
    where = parser.add_mutually_exclusive_group()
    add_address(where, default=None)
    where.add_argument(
        "--data", metavar="DIR", type=Path, help="a data directory that no sidecar uses"
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="with --data: its backup.folder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints what was restored."""
    if arguments.data is not None:
        return _restore_offline(arguments)
    request = maintenance_pb2.RestoreCollectionRequest(
        backup=arguments.backup, collection=arguments.name
    )
    with connect(arguments.on or DEFAULT_ADDRESS) as channel:
        stub = maintenance_pb2_grpc.MaintenanceServiceStub(channel)
        restored = result_of(stub.RestoreCollection(request))
    _say(restored.collection, restored.document_count, restored.sequence)
    _say_rebuilt(restored.rebuilt, "while it is served")
    return 0


def _restore_offline(arguments: argparse.Namespace) -> int:
    from sidecar.recall.catalog.offline import restore_offline  # its libraries take a second

    told = Told()
    try:
        restored = restore_offline(arguments.data, _folder(arguments), arguments.name, told.tell)
    finally:
        told.end()
    _say(restored.collection, restored.document_count, restored.sequence)
    _say_rebuilt(restored.rebuilt, "at the next start")
    return 0


def _folder(arguments: argparse.Namespace) -> Path:
    folder = Path(arguments.backup)
    if folder.is_dir():
        return folder
    configured = load_config(arguments.config).backup.folder
    if not configured:
        reason = "is no folder of a backup; to name one, give the --config that has backup.folder"
        raise InputFileError(arguments.backup, None, reason)
    return Backups(configured).path(arguments.backup)


def _say(collection: str, count: int, sequence: int) -> None:
    print(f"{collection}: {count:,} documents, up to number {sequence:,}")


def _say_rebuilt(rebuilt: Iterable[str], when: str) -> None:
    for each in rebuilt:
        print(f"made anew {when}: {each}")
