"""`sidecar serve --data DIR`: serves until SIGTERM or SIGINT, then drains."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import sys
import threading
from pathlib import Path

from sidecar.config import Config
from sidecar.config_file import load_config
from sidecar.server import LOADING_THREAD, serve


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
    _leave_loading_behind()
    return 0


def _leave_loading_behind() -> None:
    """Ends this process at once if it was stopped while it loaded: a runtime that measures a model
    does not stop before it has done so, and nothing depends on it."""
    if any(thread.name == LOADING_THREAD for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def _with_listen(config: Config, listen: str | None) -> Config:
    if listen is None:
        return config
    return dataclasses.replace(config, server=dataclasses.replace(config.server, listen=listen))


def _say_ready(address: str) -> None:
    print(f"sidecar serving on {address}", flush=True)
