"""What the commands that keep collections up share: progress while it comes, then the result."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from sidecar.commands.search import DEFAULT_ADDRESS
from sidecar.commands.terminal import Terminal, fit
from sidecar.v1 import maintenance_pb2


def add_address(parser: argparse._ActionsContainer, default: str | None = DEFAULT_ADDRESS) -> None:
    """Declares where the sidecar is."""
    parser.add_argument("--on", metavar="ADDRESS", default=default, help="HOST:PORT")


def result_of(responses: Iterable[Any]) -> Any:
    """The last response's event; how far it is goes to standard error."""
    told = Told()
    event = None
    for response in responses:
        event = getattr(response, response.WhichOneof("event"))
        if isinstance(event, maintenance_pb2.Progress):
            told.tell(event.step, event.done, event.total)
    told.end()
    return event


class Told:
    """Progress on standard error: one line that changes on a terminal, else a line a step."""

    def __init__(self) -> None:
        self._step = ""
        self._changes = sys.stderr.isatty()
        self._columns = Terminal.of(sys.stderr).columns

    def tell(self, step: str, done: int, total: int) -> None:
        """As Progress of sidecar/storage/progress.py."""
        if self._changes:
            share = f" {done / total:4.0%}" if total else ""
            print(f"\r{fit(step + share, self._columns - 1)}", end="", file=sys.stderr, flush=True)
        elif step != self._step:
            print(step, file=sys.stderr, flush=True)
        self._step = step

    def end(self) -> None:
        """Nothing more comes."""
        if self._changes and self._step:
            print(f"\r{' ' * (self._columns - 1)}\r", end="", file=sys.stderr, flush=True)


def to_line(backup: maintenance_pb2.Backup) -> str:
    """A backup in one line."""
    created = f"{backup.created.ToDatetime():%Y-%m-%d %H:%M:%S}"
    return (
        f"{backup.name}  {created} UTC  {backup.document_count:,} documents  "
        f"up to number {backup.sequence:,}  {backup.bytes / 2**20:,.1f} MiB"
    )
