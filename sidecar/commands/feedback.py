"""`sidecar feedback status|roll --data DIR`: what a feedback log holds, and rolling it now."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

from sidecar.errors import InputFileError
from sidecar.storage.feedback.journal import FILE_NAME
from sidecar.storage.feedback.roll import everything, is_over, roll
from sidecar.storage.feedback.status import Status, read_status

FOLDER_NAME = "feedback"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    commands = parser.add_subparsers(metavar="status|roll", dest="action", required=True)
    status = commands.add_parser("status", help="counts, bytes, oldest and newest hour")
    status.add_argument("--json", action="store_true", help="the same as JSON")
    rolling = commands.add_parser("roll", help="write the hours that are over to Parquet now")
    rolling.add_argument("--all", action="store_true", help="the hour under way, too")
    for command in (status, rolling):
        command.add_argument("--data", metavar="DIR", type=Path, required=True)


def run(arguments: argparse.Namespace) -> int:
    """Prints what there is, or what was done; also while a server runs."""
    folder = arguments.data / FOLDER_NAME
    if not (folder / FILE_NAME).is_file():
        raise InputFileError(str(arguments.data), None, "is no data directory with feedback")
    if arguments.action == "roll":
        return _roll(arguments, folder)
    status = read_status(folder)
    print(json.dumps(dataclasses.asdict(status)) if arguments.json else to_table(status))
    return 0


def _roll(arguments: argparse.Namespace, folder: Path) -> int:
    chosen = everything if arguments.all else is_over
    rolled = roll(folder, time.time(), chosen)
    print(f"{rolled.rows:,} rows rolled to {rolled.files} files")
    if not rolled.rows and not arguments.all:
        print("hours that are not over are rolled with --all")
    return 0


def to_table(status: Status) -> str:
    """The status as a table."""
    lines = [f"{'':12}{'in log':>12}{'in Parquet':>14}{'files':>8}{'MiB':>10}  hours (UTC)"]
    for kind, one in status.kinds.items():
        hours = f"{one.oldest_hour} to {one.newest_hour}" if one.oldest_hour else "none"
        lines.append(
            f"{kind:12}{one.in_log:>12,}{one.rolled:>14,}{one.files:>8,}"
            f"{one.bytes / 2**20:>10.1f}  {hours}"
        )
    lines.append(
        f"{status.known_events:,} events known by their ids; "
        f"the log takes {status.log_bytes / 2**20:.1f} MiB"
    )
    return "\n".join(lines)
