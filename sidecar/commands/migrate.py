"""`sidecar migrate NAME --to BACKEND`: moves a collection of a running sidecar to a backend while
it serves; what broke off goes on when it is called again.

Then `--finish` removes what is left in the sidecar's own folder, or `--back` has it lead again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable

from sidecar.commands.connection import connect
from sidecar.commands.terminal import Terminal, fit
from sidecar.commands.upkeep import add_address
from sidecar.v1 import collection_pb2, maintenance_pb2, maintenance_pb2_grpc

# Where no terminal shows a line that changes.
LINE_SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("collection", metavar="NAME", help="the collection")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--to", metavar="BACKEND", help="a backend of the server's configuration")
    action.add_argument(
        "--finish", action="store_true", help="remove what is left in the server's own folder"
    )
    action.add_argument(
        "--back",
        action="store_true",
        help="have what is left there lead again; before the switch: give the migration up",
    )
    parser.add_argument("--index", metavar="INDEX", default="", help="with --to (sidecar-NAME)")
    parser.add_argument(
        "--rate", metavar="N", type=int, default=0, help="with --to: most documents a second"
    )
    parser.add_argument(
        "--least-overlap",
        metavar="SHARE",
        type=float,
        help="with --to: of the first 100 of each leg that both must have in common (0.8)",
    )
    parser.add_argument(
        "--discard-writes",
        action="store_true",
        help="with --back: also if documents were written since the switch",
    )
    add_address(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints what was done."""
    with connect(arguments.on) as channel:
        stub = maintenance_pb2_grpc.MaintenanceServiceStub(channel)
        migrated = _last_of(stub.MigrateCollection(_to_request(arguments)))
    print("\n".join(to_lines(migrated, bool(arguments.to))))
    return 0


def _to_request(arguments: argparse.Namespace) -> maintenance_pb2.MigrateCollectionRequest:
    request = maintenance_pb2.MigrateCollectionRequest(
        collection=arguments.collection,
        action=maintenance_pb2.MIGRATION_ACTION_MOVE,
        documents_per_second=arguments.rate,
        least_overlap=arguments.least_overlap,
        discard_writes=arguments.discard_writes,
    )
    if arguments.finish:
        request.action = maintenance_pb2.MIGRATION_ACTION_FINISH
    elif arguments.back:
        request.action = maintenance_pb2.MIGRATION_ACTION_BACK
    else:
        backend = collection_pb2.Backend(name=arguments.to, index=arguments.index)
        request.backend.CopyFrom(backend)
    return request


def _last_of(
    responses: Iterable[maintenance_pb2.MigrateCollectionResponse],
) -> maintenance_pb2.MigratedCollection:
    """What the last response has; how far it is goes to standard error."""
    shown, migrated = Shown(), maintenance_pb2.MigratedCollection()
    for response in responses:
        if response.WhichOneof("event") == "progress":
            shown.tell(response.progress)
        else:
            migrated = response.migrated
    shown.end()
    return migrated


class Shown:
    """Progress on standard error, with the rate of a step and the time that is left of it: a line
    that changes on a terminal, else one at each step and now and then."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._changes = sys.stderr.isatty()
        self._columns = Terminal.of(sys.stderr).columns
        self._step, self._first, self._began, self._told = "", 0, 0.0, 0.0

    def tell(self, progress: maintenance_pb2.Progress) -> None:
        """How far it has come."""
        is_new = progress.step != self._step
        if is_new:
            self._step, self._first, self._began = progress.step, progress.done, self._now()
        if self._changes:
            line = fit(self._line(progress), self._columns - 1)
            print(f"\r{line:<{self._columns - 1}}", end="", file=sys.stderr, flush=True)
        elif is_new or self._now() - self._told >= LINE_SECONDS:
            self._told = self._now()
            print(self._line(progress), file=sys.stderr, flush=True)

    def end(self) -> None:
        """Nothing more comes."""
        if self._changes and self._step:
            print(f"\r{' ' * (self._columns - 1)}\r", end="", file=sys.stderr, flush=True)

    def _line(self, progress: maintenance_pb2.Progress) -> str:
        line = f"{progress.step}: {progress.done:,} of {progress.total:,}"
        seconds = self._now() - self._began
        done = progress.done - self._first
        if done <= 0 or seconds < 1.0:
            return line
        left = (progress.total - progress.done) * seconds / done
        return f"{line}, {done / seconds:,.0f} a second, {left:,.0f} s left"


def to_lines(migrated: maintenance_pb2.MigratedCollection, was_moved: bool) -> list[str]:
    """What was done, in words."""
    where = f"backend {migrated.backend.name!r}, index {migrated.backend.index!r}"
    kept = where if migrated.HasField("backend") else "the server's own folder"
    lines = [f"{migrated.collection}: {migrated.document_count:,} documents, kept in {kept}"]
    if was_moved:
        lines += [
            f"compared: {migrated.compared_documents:,} documents, "
            f"{migrated.compared_vectors:,} vectors; the first 100 for {migrated.probes} queries: "
            f"{migrated.lexical_overlap:.1%} of the lexical leg and "
            f"{migrated.dense_overlap:.1%} of the dense leg are the same",
            f"writes waited for {migrated.held.ToMilliseconds()} ms",
        ]
    return lines + [f"discarded: {each}" for each in migrated.discarded]
