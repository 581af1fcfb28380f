"""`sidecar simulate` against real servers, one of which is killed under way."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from feedbacks import event_ids
from sidecar_process import WITHOUT_MODELS, environment

WAIT_SECONDS = 60


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A set of 20 documents and 5 queries."""
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": f"d{n}", "title": f"thing {n}", "text": f"word{n % 5} and word{(n + 1) % 5}"}
        for n in range(20)
    ]
    queries = [{"_id": f"q{n}", "text": f"thing word{n}"} for n in range(5)]
    for name, records in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(lines)
    judgments = [f"q{n % 5}\td{n}\t{1 + n % 3}\n" for n in range(20)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judgments))
    return folder


def target(judged: Path, address: str) -> list[str]:
    return ["--set", str(judged), "--collection", "things", "--on", address]


def index(sidecar, judged: Path, address: str) -> None:
    done = sidecar("index", judged, "--to", address, "--collection", "things", "--create")
    assert done.returncode == 0, done.stderr


def test_a_simulation_says_what_it_did(sidecar, serve, judged: Path, tmp_path: Path) -> None:
    acknowledged = tmp_path / "acknowledged"
    asked = ["--sessions", "40", "--clicks", "dcm", "--seed", "3", "--run", "once"]
    with serve() as server:
        index(sidecar, judged, server.address)
        call = ["simulate", *target(judged, server.address), *asked]
        first = sidecar(*call, "--json", "--acknowledged", acknowledged)
        again = sidecar(*call)
        other = sidecar("simulate", *target(judged, server.address), "--sessions", "5")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    ids = acknowledged.read_text().split()
    assert report["sessions"] == 40
    assert report["statuses"] == {"ACCEPTED": len(ids)}
    assert report["joined_share"] == 1.0
    assert report["ranks"][0]["clicks"] > report["ranks"][-1]["clicks"]
    assert set(ids) <= set(event_ids(tmp_path / "data" / "feedback"))
    # The same run once more is a repetition; another one is not.
    assert f"{len(ids):,} events" in again.stdout
    assert f"duplicate {len(ids):,}" in again.stdout
    assert "accepted" not in again.stdout
    assert "accepted" in other.stdout


def test_what_is_missing_is_said_in_one_sentence(sidecar, server, judged: Path) -> None:
    here = target(judged, server.address)
    answers = [
        (sidecar("simulate", *here), "'things' does not exist"),
        (sidecar("simulate", *here, "--split", "dev"), "dev.tsv: cannot be read"),
        (sidecar("simulate", *here, "--run", "x" * 65), "at most 64 characters"),
        (sidecar("simulate", *here, "--sessions", "0"), "give 1 or more"),
        (sidecar("simulate", *here, "--acknowledged", "/nowhere/file"), "cannot be written"),
    ]
    nobody = sidecar("simulate", *target(judged, "127.0.0.1:1"))
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "no sidecar answers on 127.0.0.1:1" in nobody.stderr
    for answer, sentence in answers:
        assert answer.returncode == 2, answer.stderr
        assert sentence in answer.stderr
        assert answer.stdout == ""


@contextlib.contextmanager
def serving_at(address: str, folder: Path) -> Iterator[None]:
    """The server of a folder again, at an address."""
    config = folder / "sidecar.toml"
    config.write_text(WITHOUT_MODELS)
    command = [sys.executable, "-m", "sidecar", "serve", "--data", str(folder / "data")]
    command += ["--listen", address, "--config", str(config)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().split()[-1] == address
            yield
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS)


def test_a_server_that_is_killed_under_way_loses_nothing(
    sidecar, serve, judged: Path, tmp_path: Path
) -> None:
    """Killed after 200 acknowledged events, in the middle of others, and started again: every event
    that was ever acknowledged is in the log, once."""
    with serve() as server:
        index(sidecar, judged, server.address)
        command = [sys.executable, "-m", "sidecar", "simulate", *target(judged, server.address)]
        command += ["--sessions", "300", "--json", "--acknowledged", "/dev/stdout"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        ) as users:
            assert users.stdout is not None
            lines = [next(users.stdout) for _ in range(200)]
            server.process.kill()
            server.process.wait(WAIT_SECONDS)
            with serving_at(server.address, tmp_path):
                lines += list(users.stdout)
            _, said = users.communicate(timeout=WAIT_SECONDS)
    assert users.returncode == 0, said
    *acknowledged, printed = (line.strip() for line in lines)
    report = json.loads(printed)
    assert report["retries"] > 0
    assert report["sessions"] == 300
    assert report["events"] == len(acknowledged) > 400
    in_log = event_ids(tmp_path / "data" / "feedback")
    assert set(in_log.values()) == {1}
    assert sorted(acknowledged) == sorted(in_log)
