"""The command line: `sidecar COMMAND ...`. One file a command in `commands/`.

Exit codes: 0 done, 1 a failure or a finding, 2 a mistake in the call or in a file it names.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import cast

from sidecar.errors import ConfigurationError, InputFileError, InvalidFieldError, SidecarError

COMMANDS = {
    "serve": "serve search over gRPC from a data directory",
    "index": "write a file of documents into a collection of a running sidecar",
    "search": "search a running sidecar and show each stage as it arrives",
    "rerank": "rerank a file of candidates on a running sidecar, stage by stage",
    "evaluate": "measure every stage over a judged set in BEIR layout",
    "simulate": "let simulated users of a judged set search and click on a running sidecar",
    "verify": "compare all that is kept of collections with their documents",
    "backup": "back a collection of a running sidecar up",
    "backups": "list the backups of a running sidecar",
    "migrate": "move a collection of a running sidecar to a backend while it serves, or back",
    "restore": "make a new collection of a backup",
    "models": "the models of a running sidecar: publish, list, exchange, compare",
    "feedback": "what the feedback log of a data directory holds; roll it to Parquet",
    "calibrate": "measure how the models run best on this machine",
    "config": "print the configuration table",
    "demo": "search the documentation of the Python standard library",
}
CALLER_MISTAKES = (ConfigurationError, InputFileError, InvalidFieldError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words if not word.startswith("-")), None)
    parsed = build_parser(chosen).parse_args(words)
    try:
        return cast(int, parsed.run(parsed))
    except SidecarError as error:
        print(f"sidecar: {error.message}", file=sys.stderr)
        return 2 if isinstance(error, CALLER_MISTAKES) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output left; without this, Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"sidecar: {error.filename or 'system'}: {error.strerror}", file=sys.stderr)
        return 1


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser. Only the chosen command's module is imported: clients start without models."""
    parser = argparse.ArgumentParser(
        prog="sidecar", description="Search relevance beside your service, over gRPC."
    )
    parser.add_argument(
        "--version", action="version", version=f"sidecar {version('search-sidecar')}"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, sentence in COMMANDS.items():
        command_parser = commands.add_parser(name, help=sentence, description=sentence)
        if name == chosen:
            command = importlib.import_module(f"sidecar.commands.{name}")
            command.add_arguments(command_parser)
            command_parser.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
