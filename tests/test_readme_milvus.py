"""What the README says of collections kept by Milvus is done as it stands there."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from pathlib import Path

from engines.milvus import MilvusLite
from sidecar_process import WITHOUT_MODELS, run_sidecar, serving

README = Path(__file__).parents[1] / "README.md"
SECTION = re.search(
    r"^### Collections kept by Milvus$(.*?)^##", README.read_text(), re.DOTALL | re.MULTILINE
)
CORPUS = """{"_id": "a", "title": "asyncio", "text": "wait for several tasks to finish"}
{"_id": "b", "title": "shutil", "text": "copy a tree of files"}
"""


def block(language: str) -> str:
    assert SECTION is not None
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", SECTION[1], re.DOTALL | re.MULTILINE)
    return text


def test_its_configuration_and_commands(tmp_path: Path, milvus_lite: MilvusLite) -> None:
    (url,) = re.findall(r'url = "(.*)"', block("toml"))
    configuration = WITHOUT_MODELS + block("toml").replace(url, milvus_lite.url)
    (tmp_path / "corpus.jsonl").write_text(CORPUS)
    with serving(tmp_path, configuration) as server:
        outputs = []
        for command in block("sh").strip().splitlines():
            words = shlex.split(command)
            assert words.pop(0) == "sidecar"
            changed = {
                "127.0.0.1:50051": server.address,
                "articles": "readme",
                "corpus.jsonl": str(tmp_path / "corpus.jsonl"),
            }
            done = run_sidecar(*(changed.get(word, word) for word in words))
            assert done.returncode == 0, done.stderr
            outputs.append(done.stdout)
    assert "2 documents written" in outputs[0]
    assert "asyncio" in outputs[1]
    assert "shutil" not in outputs[1]


def test_the_release_that_was_tested_is_the_one_that_is_installed() -> None:
    assert SECTION is not None
    assert f"milvus-lite {importlib.metadata.version('milvus-lite')}" in SECTION[1]
