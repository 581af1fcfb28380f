"""`sidecar backups`: the backups of a running sidecar, the latest first."""

from __future__ import annotations

import argparse

from sidecar.commands.connection import connect
from sidecar.commands.upkeep import add_address, to_line
from sidecar.v1 import maintenance_pb2, maintenance_pb2_grpc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--collection", metavar="NAME", default="", help="those of one only")
    add_address(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints one a line."""
    request = maintenance_pb2.ListBackupsRequest(collection=arguments.collection)
    with connect(arguments.on) as channel:
        stub = maintenance_pb2_grpc.MaintenanceServiceStub(channel)
        for backup in stub.ListBackups(request).backups:
            print(to_line(backup))
    return 0
