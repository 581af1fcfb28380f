"""`sidecar calibrate --data DIR`: measures how each model runs best on this machine; keeps it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from sidecar.config import Config
from sidecar.models.load import choose_runtimes
from sidecar.pipeline.resolution import load_resolved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--data", metavar="DIR", type=Path, required=True)
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration in TOML")
    parser.add_argument(
        "--seconds",
        metavar="N",
        type=_seconds,
        default=0.0,
        help="time for each model, as runtime.choice_seconds at a first start; 0: no limit (0)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints a row for every way of running each configured model, as it is measured."""
    arguments.data.mkdir(parents=True, exist_ok=True)
    config = _within(load_resolved(arguments.config, arguments.data), arguments.seconds)
    print(
        f"{'model':<20}{'runtime':<13}{'precision':<11}{'hint':<12}{'rate/s':>9}{'x fp32':>8}"
        f"{'difference':>12}  verdict"
    )
    for row in choose_runtimes(config, arguments.data):
        print(
            f"{row.model:<20}{row.runtime:<13}{row.precision:<11}{row.hint:<12}{row.per_second:>9.1f}"
            f"{row.ratio:>8.2f}{row.difference:>12.5f}  {row.verdict}",
            flush=True,
        )
    return 0


def _within(config: Config, seconds: float) -> Config:
    runtime = dataclasses.replace(config.runtime, choice_seconds=seconds)
    return dataclasses.replace(config, runtime=runtime)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 0.0:  # false for NaN too
        raise argparse.ArgumentTypeError(f"{text}: give 0 or more")
    return seconds
