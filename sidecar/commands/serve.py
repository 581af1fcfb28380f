"""`sidecar serve --data DIR`: serves until SIGTERM or SIGINT, then drains."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import sys
from pathlib import Path

from sidecar.config import Config, load_config
from sidecar.server import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--data", metavar="DIR", type=Path, required=True)
    parser.add_argument("--listen", metavar="HOST:PORT", help="port 0 takes a free one")
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration in TOML")
    parser.add_argument(
        "--gpu", action="store_true", help="start and supervise vLLM for the configured models"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves; logs go to standard error, one line on standard output says the address."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    config = _with_listen(load_config(arguments.config), arguments.listen)
    if arguments.gpu:
        config = dataclasses.replace(config, vllm=dataclasses.replace(config.vllm, start=True))
    asyncio.run(serve(config, arguments.data, _say_ready))
    return 0


def _with_listen(config: Config, listen: str | None) -> Config:
    if listen is None:
        return config
    return dataclasses.replace(config, server=dataclasses.replace(config.server, listen=listen))


def _say_ready(address: str) -> None:
    print(f"sidecar serving on {address}", flush=True)
