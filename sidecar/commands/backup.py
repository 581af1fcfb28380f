"""`sidecar backup NAME`: backs a collection of a running sidecar up, below its backup.folder."""

from __future__ import annotations

import argparse

from sidecar.commands.connection import connect
from sidecar.commands.upkeep import add_address, result_of, to_line
from sidecar.v1 import maintenance_pb2, maintenance_pb2_grpc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("collection", metavar="NAME", help="the collection")
    add_address(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the backup, which is durable then."""
    request = maintenance_pb2.BackupCollectionRequest(collection=arguments.collection)
    with connect(arguments.on) as channel:
        stub = maintenance_pb2_grpc.MaintenanceServiceStub(channel)
        print(to_line(result_of(stub.BackupCollection(request))))
    return 0
