"""What the README says of moving a collection is done as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from sidecar_process import WITHOUT_MODELS, environment, run_sidecar, serving

README = Path(__file__).parents[1] / "README.md"
SECTION = re.search(
    r"^### Moving a collection to a backend$(.*?)^##", README.read_text(), re.DOTALL | re.MULTILINE
)
DOCUMENTS = 400


def commands() -> list[list[str]]:
    assert SECTION is not None
    (block,) = re.findall(r"^```sh\n(.*?)^```$", SECTION[1], re.DOTALL | re.MULTILINE)
    return [shlex.split(line, comments=True) for line in block.strip().splitlines()]


@pytest.fixture
def configuration(opensearch_url: str) -> str:
    backend = f'[backends.cluster]\nkind = "opensearch"\nurl = "{opensearch_url}"\n'
    return f'{WITHOUT_MODELS}{backend}replicas = "0"\n'


def index(folder: Path, address: str, name: str) -> None:
    corpus = folder / "corpus.jsonl"
    corpus.write_text(
        "".join(
            json.dumps({"_id": f"d{n}", "text": f"word{n % 50} common"}) + "\n"
            for n in range(DOCUMENTS)
        )
    )
    done = run_sidecar("index", corpus, "--to", address, "--collection", name, "--create")
    assert done.returncode == 0, done.stderr


def run(command: list[str], **changed: str) -> str:
    assert command[0] == "sidecar"
    done = run_sidecar(*(changed.get(word, word) for word in command[1:]))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_commands_also_after_a_kill(tmp_path: Path, configuration: str) -> None:
    name = f"r{uuid.uuid4().hex[:12]}"
    move, finish = commands()
    with serving(tmp_path, configuration) as server:
        index(tmp_path, server.address, name)
        slow = [sys.executable, "-m", "sidecar", "migrate", name, "--to", "cluster"]
        with subprocess.Popen(
            [*slow, "--rate", "100", "--on", server.address],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as moving:
            assert moving.stderr is not None
            assert "copies documents: 0 of 400" in moving.stderr.readline()
            server.process.send_signal(signal.SIGKILL)
            assert moving.wait(60) == 1
    with serving(tmp_path, configuration) as server:
        changed = {"articles": name, "127.0.0.1:50051": server.address}
        printed = run(move, **changed)
        assert f"{name}: 400 documents, kept in backend 'cluster'" in printed
        assert "compared: 400 documents" in printed
        assert "writes waited for" in printed
        back = ["sidecar", "migrate", "articles", "--back", "--on", server.address]
        assert "kept in the server's own folder" in run(back, **changed)
        taken = run_sidecar("migrate", name, "--to", "cluster", "--on", server.address)
        assert taken.returncode == 2
        assert "exists and has documents" in taken.stderr
        other = ["--index", f"{name}-2", "--on", server.address]
        done = run_sidecar("migrate", name, "--to", "cluster", *other)
        assert done.returncode == 0, done.stderr
        assert f"index '{name}-2'" in done.stdout
        assert "400 documents" in run(finish, **changed)
        search = ["search", "common", "--collection", name, "--on", server.address, "--top", "3"]
        assert run_sidecar(*search).stdout.count("common") >= 3
    folder = server.data / "collections" / name
    assert [path.name for path in folder.iterdir()] == ["backend.json"]
