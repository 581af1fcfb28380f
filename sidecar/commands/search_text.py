"""Field weights and highlights on the command line: `--weight title 3`, `--highlight text`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from sidecar.commands.terminal import Terminal
from sidecar.errors import InvalidFieldError
from sidecar.v1 import ranking_pb2, search_pb2

_INDENT = " " * 10
LEAST_CHARACTERS = 40


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares them."""
    parser.add_argument(
        "--weight",
        metavar=("FIELD", "WEIGHT"),
        nargs=2,
        action="append",
        default=[],
        help="weight of a text field in the lexical leg, 0 to 100; others weigh 1",
    )
    parser.add_argument(
        "--highlight",
        metavar="FIELD",
        action="append",
        default=[],
        help="show where a text field has words of the query",
    )


def text_fields(arguments: argparse.Namespace, columns: int) -> dict[str, Any]:
    """The fields of a SearchRequest; fragments are of one line of a terminal. Raises
    InvalidFieldError naming the argument; names are the server's to check."""
    fields: dict[str, Any] = {
        "field_weights": {name: _to_weight(text) for name, text in arguments.weight}
    }
    if arguments.highlight:
        characters = max(LEAST_CHARACTERS, columns - len(_INDENT))
        fields["highlighting"] = search_pb2.Highlighting(
            fields=arguments.highlight, fragment_characters=characters
        )
    return fields


def highlight_lines(hit: ranking_pb2.Hit, terminal: Terminal) -> Iterator[str]:
    """Each fragment in one line, the query's words bold; between asterisks without colour."""
    for highlight in hit.highlights:
        parts, done = [], 0
        for span in highlight.spans:
            parts.append(_squeezed(highlight.text[done : span.start]))
            word = _squeezed(highlight.text[span.start : span.end])
            parts.append(terminal.paint(word, "bold") if terminal.colour else f"*{word}*")
            done = span.end
        parts.append(_squeezed(highlight.text[done:]))
        yield _INDENT + "".join(parts)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _to_weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidFieldError("--weight", f"{text!r} is no number") from None
