"""`sidecar config`: the configuration table, as the README shows it."""

from __future__ import annotations

import argparse

from sidecar.config_file import describe_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares no argument."""


def run(arguments: argparse.Namespace) -> int:
    """Prints the table."""
    print(config_table())
    return 0


def config_table() -> str:
    """Every key in Markdown: key, default, what it means."""
    rows = ["| key | default | what it is |", "|---|---|---|"]
    for key, default, _, sentence in describe_config():
        rows.append(f"| `{key}` | `{default or chr(34) * 2}` | {sentence} |")
    return "\n".join(rows)
