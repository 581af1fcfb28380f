"""Field weights and highlights as the command line asks for them and shows them."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from sidecar.commands.search_text import add_text_arguments, highlight_lines, text_fields
from sidecar.commands.terminal import Terminal
from sidecar.errors import InvalidFieldError
from sidecar.v1.ranking_pb2 import Highlight, Hit, Span
from sidecar.v1.search_pb2 import SearchRequest

README = Path(__file__).parents[2] / "README.md"
HIT = Hit(
    highlights=[
        Highlight(field="title", text="Tasks", spans=[Span(start=0, end=5)]),
        Highlight(
            field="text",
            text="wait\nfor  several 任务, all",
            spans=[Span(start=0, end=4), Span(start=18, end=20)],
        ),
    ]
)


def asked(*words: str, columns: int = 80) -> SearchRequest:
    parser = argparse.ArgumentParser()
    add_text_arguments(parser)
    return SearchRequest(**text_fields(parser.parse_args(words), columns))


def test_every_argument_is_sent() -> None:
    search = asked("--weight", "title", "2.5", "--highlight", "text", "--highlight", "title")
    assert dict(search.field_weights) == {"title": 2.5}
    assert list(search.highlighting.fields) == ["text", "title"]
    assert search.highlighting.fragment_characters == 70
    assert asked("--highlight", "text", columns=20).highlighting.fragment_characters == 40
    assert asked() == SearchRequest()
    with pytest.raises(InvalidFieldError, match="--weight: 'much' is no number"):
        asked("--weight", "title", "much")


def test_words_are_bold_on_a_terminal_and_between_asterisks_elsewhere() -> None:
    plain = list(highlight_lines(HIT, Terminal(colour=False, columns=80)))
    assert [line.strip() for line in plain] == ["*Tasks*", "*wait* for several *任务*, all"]
    coloured = list(highlight_lines(HIT, Terminal(colour=True, columns=80)))
    assert coloured[1].strip() == "\033[1mwait\033[0m for several \033[1m任务\033[0m, all"


def test_the_readmes_command(sidecar, server, tmp_path: Path) -> None:
    section = re.search(
        r"^### Field weights and highlights$(.*?)^###", README.read_text(), re.DOTALL | re.MULTILINE
    )
    (command,) = re.findall(r"^```sh\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE)
    documents = [
        {"_id": "a", "title": "asyncio", "text": "Waits for tasks.\nSeveral tasks, at that."},
        {"_id": "b", "title": "Several tasks", "text": "Nothing."},
    ]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(map(json.dumps, documents)) + "\n")
    done = sidecar("index", corpus, "--to", server.address, "--collection", "articles", "--create")
    assert done.returncode == 0, done.stderr
    words = shlex.split(command.replace("\\\n", "").replace("127.0.0.1:50051", server.address))
    assert words.pop(0) == "sidecar"
    found = sidecar(*words)
    assert found.returncode == 0, found.stderr
    lines = [line.strip() for line in found.stdout.splitlines()]
    # By weight the short title is before the text that has all of the words.
    assert lines.index("*Several* *tasks*") < lines.index(
        "*Waits* for *tasks*. *Several* *tasks*, at that."
    )
    unknown = sidecar(*words, "--weight", "titel", "2")
    assert unknown.returncode != 0
    assert 'field_weights["titel"]' in unknown.stderr
