"""`sidecar simulate`: users of a judged set search a running sidecar and send their events."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
from tqdm import tqdm

from sidecar.commands.connection import to_sidecar_error
from sidecar.commands.search import DEFAULT_ADDRESS
from sidecar.errors import InputFileError, InvalidFieldError
from sidecar.evaluation.beir import read_judged_set
from sidecar.simulation.click_models import CLICK_MODELS
from sidecar.simulation.client import Plan, Simulation
from sidecar.simulation.report import Report
from sidecar.simulation.users import Users


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--set", metavar="DIR", type=Path, required=True, help="a judged set in BEIR layout"
    )
    parser.add_argument("--split", default="test", help="qrels/SPLIT.tsv (test)")
    parser.add_argument(
        "--collection", metavar="NAME", required=True, help="where its corpus is indexed"
    )
    parser.add_argument(
        "--on", "--address", metavar="ADDRESS", default=DEFAULT_ADDRESS, help="HOST:PORT"
    )
    parser.add_argument("--sessions", metavar="N", type=_at_least_one, default=1000, help="(1000)")
    parser.add_argument(
        "--clicks", choices=sorted(CLICK_MODELS), default="pbm", help="the click model (pbm)"
    )
    parser.add_argument("--seed", type=int, default=0, help="sessions follow from it (0)")
    parser.add_argument(
        "--run",
        metavar="NAME",
        dest="run_name",
        help="part of the event ids; given again, events are repetitions (anew each time)",
    )
    _add_pace_arguments(parser)
    parser.add_argument(
        "--acknowledged", metavar="FILE", type=Path, help="write ids of logged events, one a line"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_pace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--top", metavar="N", type=_at_least_one, default=10, help="hits shown (10)"
    )
    parser.add_argument(
        "--at-once", metavar="N", type=_at_least_one, default=16, help="sessions at a time (16)"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=10.0, help="a call's deadline (10)"
    )
    parser.add_argument(
        "--patience",
        metavar="SECONDS",
        type=float,
        default=120.0,
        help="time that a server that is away gets to come back (120)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Simulates and prints; 1 if a search failed or an event was refused."""
    judged = read_judged_set(arguments.set, arguments.split)
    name = arguments.run_name or uuid.uuid4().hex[:8]
    if len(name) > 64:
        raise InvalidFieldError("--run", "give at most 64 characters: it is part of event ids")
    users = Users(judged, CLICK_MODELS[arguments.clicks], arguments.seed, name)
    plan = Plan(
        arguments.on,
        arguments.collection,
        arguments.sessions,
        arguments.top,
        arguments.at_once,
        arguments.timeout,
        arguments.patience,
    )
    report = _simulate(users, plan, arguments.acknowledged)
    print(json.dumps(report.to_dict()) if arguments.json else "\n".join(report.lines()))
    return 1 if report.failed_searches or report.refusals else 0


def _simulate(users: Users, plan: Plan, acknowledged: Path | None) -> Report:
    bar = tqdm(
        total=plan.sessions, desc="simulating", unit="session", disable=not sys.stderr.isatty()
    )
    with bar, _written(acknowledged) as write:
        simulation = Simulation(users, plan, write, lambda: bar.update() and None)
        try:
            return asyncio.run(simulation.run())
        except grpc.aio.AioRpcError as error:
            raise to_sidecar_error(error, plan.address) from error


@contextlib.contextmanager
def _written(path: Path | None) -> Iterator[Callable[[Sequence[str]], None]]:
    """Writes ids to a file, at once: they are there even if this program is killed."""
    if path is None:
        yield lambda _: None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be written: {error.strerror}") from error

    def write(ids: Sequence[str]) -> None:
        file.writelines(f"{one}\n" for one in ids)
        file.flush()

    with file:
        yield write


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few: give 1 or more")
    return number
