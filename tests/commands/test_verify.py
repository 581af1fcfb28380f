"""`sidecar verify` over data that is whole, and over data that was tampered with."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from sidecar_process import Serving, run_sidecar, serving


@pytest.fixture
def stopped(tmp_path: Path) -> Serving:
    """Data that a server wrote and left in order."""
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(f'{{"_id": "d{n}", "text": "word {n}"}}\n' for n in range(20)))
    with serving(tmp_path) as started:
        target = ("--to", started.address, "--collection", "words", "--create")
        done = run_sidecar("index", corpus, *target)
        assert done.returncode == 0, done.stderr
    return started


def verify(stopped: Serving):
    return run_sidecar("verify", "--data", stopped.data, "--config", stopped.config)


def test_whole_data_has_no_finding(stopped: Serving) -> None:
    done = verify(stopped)
    assert (done.returncode, done.stdout) == (0, "words: 20 documents\nno finding\n"), done.stderr


def test_a_document_taken_from_the_truth_is_a_finding(stopped: Serving) -> None:
    database = stopped.data / "collections" / "words" / "documents.sqlite"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM documents WHERE doc_id = 'd7'")
        connection.commit()
    done = verify(stopped)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "words: the lexical index has documents that are not stored" in done.stdout
    assert "Traceback" not in done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_damaged_index_is_a_finding_and_is_left_for_a_start(stopped: Serving) -> None:
    for terms in (stopped.data / "collections" / "words" / "lexical").glob("*.term"):
        content = bytearray(terms.read_bytes())
        content[len(content) // 3] ^= 1
        terms.write_bytes(content)
    before = contents(stopped.data)
    done = verify(stopped)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "words: the lexical index cannot be used: " in done.stdout
    coming = "at the next start: the lexical index would be set aside and built anew"
    assert coming in done.stdout
    assert contents(stopped.data) == before
    with serving(stopped.data.parent) as again:
        found = run_sidecar("verify", "--collection", "words", "--on", again.address)
        assert found.returncode == 0, found.stdout + found.stderr
    again = verify(stopped)
    assert (again.returncode, again.stdout) == (0, "words: 20 documents\nno finding\n")


def test_a_collection_that_cannot_be_opened_is_a_finding(stopped: Serving) -> None:
    (stopped.data / "collections" / "words" / "documents.sqlite").write_bytes(b"no database" * 999)
    done = verify(stopped)
    assert done.returncode == 1
    assert done.stdout.startswith("words: ")
    assert "Traceback" not in done.stderr


def test_acknowledged_writes_that_a_damaged_log_holds_back_are_a_finding(tmp_path: Path) -> None:
    """SQLite would open such a file, and lack them."""
    corpus = tmp_path / "corpus.jsonl"
    with serving(tmp_path) as started:
        target = ("--to", started.address, "--collection", "words", "--create")
        for number in range(4):
            corpus.write_text(f'{{"_id": "d{number}", "text": "word {number}"}}\n')
            done = run_sidecar("index", corpus, *(target if not number else target[:-1]))
            assert done.returncode == 0, done.stderr
        started.process.kill()
        started.process.wait()
    log = started.data / "collections" / "words" / "documents.sqlite-wal"
    content = bytearray(log.read_bytes())
    content[len(content) // 3] ^= 1
    log.write_bytes(content)
    done = verify(started)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "documents.sqlite-wal: damaged at frame" in done.stdout
    assert "acknowledged transactions from there on cannot be read" in done.stdout
    assert log.read_bytes() == content
    with serving(tmp_path) as again:
        asked = run_sidecar("search", "word", "--on", again.address, "--collection", "words")
        assert asked.returncode != 0
        assert "damaged at frame" in asked.stderr
    done = run_sidecar(
        *("verify", "--data", started.data, "--config", started.config, "--cut-damaged-logs")
    )
    assert "transactions given up; all is in" in done.stdout
    assert log.with_name(log.name + ".damaged").read_bytes() == content
    again = verify(started)
    assert "damaged at frame" not in again.stdout


def test_while_it_is_served_one_collection_is_verified(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(f'{{"_id": "d{n}", "text": "word {n}"}}\n' for n in range(20)))
    with serving(tmp_path) as server:
        target = ("--to", server.address, "--collection", "words", "--create")
        assert run_sidecar("index", corpus, *target).returncode == 0
        one = ("verify", "--collection", "words", "--on", server.address)
        done = run_sidecar(*one)
        wanted = (0, "words: 20 documents, as of 20\nno finding\n")
        assert (done.returncode, done.stdout) == wanted, done.stderr
        database = server.data / "collections" / "words" / "documents.sqlite"
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("DELETE FROM documents WHERE doc_id = 'd7'")
            connection.commit()
        done = run_sidecar(*one)
        assert done.returncode == 1
        assert "words: the lexical index has documents that are not stored" in done.stdout
        refused = run_sidecar("verify", "--data", server.data)
        assert refused.returncode == 1
        assert "in use by another sidecar" in refused.stderr
        refused = run_sidecar("verify", "--collection", "nothing", "--on", server.address)
        assert refused.returncode == 2
