"""Files into a running sidecar and searches out of it: what stays, goes on, is refused."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest


def write_corpus(path: Path, count: int) -> Path:
    lines = [
        json.dumps(
            {
                "_id": f"d{number}",
                "title": f"Document {number}",
                "text": f"a word and number{number}",
                "metadata": {"year": 2000 + number % 10, "colour": "blue"},
            }
        )
        for number in range(1, count + 1)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def replace_line(path: Path, number: int, text: str) -> str:
    lines = path.read_text().splitlines()
    lines[number - 1], before = text, lines[number - 1]
    path.write_text("\n".join(lines) + "\n")
    return before


def test_index_then_search_with_a_filter(sidecar, server, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", 30)
    target = ("--to", server.address, "--collection", "years")
    done = sidecar("index", tmp_path, *target, "--create", "--attribute", "year:integer")
    assert (done.returncode, done.stdout[:31]) == (0, "30 documents written into 'year")
    assert "left out, since the collection declares no such field: colour" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [corpus.name]

    where = ("--on", server.address, "--collection", "years", "--where", "year>=2008")
    found = sidecar("search", "word number", *where, "--explain")
    assert found.returncode == 0, found.stderr
    titles = [line for line in found.stdout.splitlines() if "Document" in line]
    assert {line.split("Document ")[1].split()[0] for line in titles} == {
        *("8", "9", "18", "19", "28", "29")
    }
    assert "lexical #1" in found.stdout


def test_a_malformed_line_7_keeps_what_was_before_and_goes_on(
    sidecar, server, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", 12)
    mended = replace_line(corpus, 7, '{"_id": "d7", "title": ')
    command = ("index", corpus, "--to", server.address, "--collection", "seven", "--create")
    done = sidecar(*command)
    assert done.returncode == 2
    assert f"{corpus}, line 7: not valid JSON" in done.stderr
    assert "the 6 documents before it are stored" in done.stderr
    assert "Traceback" not in done.stderr

    stored = sidecar("search", "word", "--on", server.address, "--collection", "seven")
    assert "Document 6" in stored.stdout
    assert "Document 8" not in stored.stdout

    replace_line(corpus, 7, mended)
    again = sidecar(*command)
    assert (again.returncode, again.stdout[:20]) == (0, "6 documents written ")
    assert "going on after line 6" in again.stderr


def test_an_index_run_goes_on_after_the_server_was_killed(sidecar, serve, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", 9)
    replace_line(corpus, 6, "no JSON")
    with serve() as first:
        command = ("index", corpus, "--collection", "kept", "--create")
        assert sidecar(*command, "--to", first.address).returncode == 2
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    replace_line(corpus, 6, '{"_id": "d6", "title": "Document 6", "text": "a word"}')
    with serve() as second:
        done = sidecar(*command, "--to", second.address)
        assert (done.returncode, done.stdout[:20]) == (0, "4 documents written ")
        found = sidecar("search", "word", "--on", second.address, "--collection", "kept")
        assert found.stdout.count("Document ") == 9


def test_a_dropped_collection_starts_again(sidecar, server, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", 8)
    replace_line(corpus, 5, "no JSON")
    options = ("--to", server.address, "--create", "--state", tmp_path / "state")
    assert sidecar("index", corpus, *options, "--collection", "one").returncode == 2
    state = json.loads((tmp_path / "state").read_text())
    (tmp_path / "state").write_text(json.dumps({**state, "collection": "two"}))
    replace_line(corpus, 5, '{"_id": "d5", "title": "Document 5"}')
    done = sidecar("index", corpus, *options, "--collection", "two")
    assert (done.returncode, done.stdout[:20]) == (0, "8 documents written ")


def test_csv(sidecar, server, tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text('id,title,text,price\np1,Lamp,"a warm\nlight",9.5\np2,Light bulb,,2\n')
    target = ("--to", server.address, "--collection", "products", "--create")
    done = sidecar("index", path, *target, "--attribute", "price:double")
    assert done.returncode == 0, done.stderr
    search = ("search", "light", "--on", server.address, "--collection", "products")
    assert "Lamp" in sidecar(*search).stdout
    assert "Lamp" not in sidecar(*search, "--where", "price<5").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "x", "--collection", "nowhere"), "COLLECTION_NOT_FOUND"),
        (("search", "", "--collection", "refusals"), "query"),
        (("search", "x", "--collection", "refusals", "--where", "size=1"), "no attribute 'size'"),
        (("search", "x", "--collection", "refusals", "--top", "0"), "top_k"),
    ],
)
def test_refusals_name_the_field_or_the_reason(
    sidecar, server, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", 1)
    sidecar("index", corpus, "--to", server.address, "--collection", "refusals", "--create")
    done = sidecar(*arguments, "--on", server.address)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_rerank_prints_the_list_stage_by_stage(sidecar, server, tmp_path: Path) -> None:
    path = tmp_path / "candidates.jsonl"
    path.write_text(
        '{"_id": "a", "title": "About lamps", "text": "nothing"}\n'
        '{"_id": "b", "title": "Rivers", "text": "three rivers meet"}\n'
    )
    command = ("rerank", "where rivers meet", "--candidates", path, "--on", server.address)
    done = sidecar(*command, "--lexical-signal")
    assert done.returncode == 0, done.stderr
    lines = [line.split()[:2] for line in done.stdout.splitlines()]
    assert ["1", "Rivers"] in lines or ["1", "▲1"] in lines
    assert "no model is configured" in done.stdout
    path.write_text('{"_id": "a", "text": "x", "score": "high"}\n')
    refused = sidecar(*command)
    assert refused.returncode == 2
    assert "line 1: \"score\" is 'high': give a number" in refused.stderr


def test_sigterm_drains_and_ends_with_0(serve) -> None:
    with serve() as started:
        assert started.first_line == f"sidecar serving on {started.address}\n"
        started.process.terminate()
        assert started.process.wait(60) == 0
        assert started.process.stdout.read() == ""
