"""`sidecar verify`: compares all that is kept of collections with their documents.

With --data those of a folder that no sidecar uses, which is left as it is; with --collection one
that a running sidecar serves, while it serves it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sidecar.commands.connection import connect
from sidecar.commands.upkeep import Told, add_address, result_of
from sidecar.config_file import load_config
from sidecar.errors import ConfigurationError, InputFileError
from sidecar.storage.files import FolderLock
from sidecar.storage.write_ahead_log import cut, find_damage
from sidecar.v1 import maintenance_pb2, maintenance_pb2_grpc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--data", metavar="DIR", type=Path, help="a data directory, all of it")
    which.add_argument("--collection", metavar="NAME", help="one of a running sidecar")
    add_address(parser)
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="with --data: configuration in TOML"
    )
    parser.add_argument(
        "--cut-damaged-logs",
        action="store_true",
        help="with --data: go on without acknowledged writes that a damaged write-ahead log does "
        "not give back",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints what is wrong; 1 if anything is."""
    if arguments.data is None:
        if arguments.cut_damaged_logs:
            raise ConfigurationError("--cut-damaged-logs: give --data; no sidecar may use it")
        return _verify_online(arguments)
    if not arguments.data.is_dir():
        raise InputFileError(str(arguments.data), None, "is no data directory")
    if arguments.cut_damaged_logs:
        FolderLock(arguments.data).release()  # says at once if a server uses it
        cut_damaged_logs(arguments.data)
    return _verify_offline(arguments)


def _verify_online(arguments: argparse.Namespace) -> int:
    request = maintenance_pb2.VerifyCollectionRequest(collection=arguments.collection)
    with connect(arguments.on) as channel:
        stub = maintenance_pb2_grpc.MaintenanceServiceStub(channel)
        found = result_of(stub.VerifyCollection(request))
    print(f"{arguments.collection}: {found.document_count} documents, as of {found.sequence}")
    return _say([f"{arguments.collection}: {finding}" for finding in found.findings])


def _verify_offline(arguments: argparse.Namespace) -> int:
    from sidecar.recall.catalog.offline import verify_offline  # its libraries take a second

    config, told, findings = load_config(arguments.config), Told(), []
    for examined in verify_offline(arguments.data, config, told.tell):
        told.end()
        if examined.document_count is not None:
            print(f"{examined.name}: {examined.document_count} documents", flush=True)
        for coming in examined.coming:
            print(f"{examined.name}: at the next start: {coming}")
        findings += [f"{examined.name}: {finding}" for finding in examined.findings]
    return _say(findings)


def _say(findings: list[str]) -> int:
    print("\n".join(findings) if findings else "no finding")
    return 1 if findings else 0


def cut_damaged_logs(data: Path) -> None:
    """Says what is given up, and where it is kept."""
    for database in sorted(data.rglob("*.sqlite")):
        if damage := find_damage(database):
            kept = cut(damage)
            print(f"{damage.log}: {damage.transactions} transactions given up; all is in {kept}")
