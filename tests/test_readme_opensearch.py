"""What the README says of collections kept by OpenSearch is done as it stands there."""

from __future__ import annotations

import re
import shlex
import urllib.parse
import uuid
from pathlib import Path

from sidecar_process import WITHOUT_MODELS, run_sidecar, serving

from sidecar.config_file import load_config

README = Path(__file__).parents[1] / "README.md"
SECTION = re.search(
    r"^### Collections kept by OpenSearch$(.*?)^##", README.read_text(), re.DOTALL | re.MULTILINE
)
CORPUS = """{"_id": "a", "title": "asyncio", "text": "wait for several tasks to finish"}
{"_id": "b", "title": "shutil", "text": "copy a tree of files"}
"""


def blocks(language: str) -> list[str]:
    assert SECTION is not None
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION[1], re.DOTALL | re.MULTILINE)


def test_its_configuration_and_commands(tmp_path: Path, opensearch_url: str) -> None:
    (shown,) = blocks("toml")
    path = tmp_path / "shown.toml"
    path.write_text(shown)
    assert load_config(path, {}).backends["cluster"].replicas == "1"
    (url,) = re.findall(r'url = "(.*)"', shown)
    # The second address leads there; at the first one nobody listens.
    here = f"http://127.0.0.1:9,http://127.0.0.1:{urllib.parse.urlsplit(opensearch_url).port}"
    configuration = WITHOUT_MODELS + shown.replace(url, here).replace('"1"', '"0"')
    name = f"r{uuid.uuid4().hex[:12]}"
    (tmp_path / "corpus.jsonl").write_text(CORPUS)
    (commands,) = blocks("sh")
    with serving(tmp_path, configuration) as server:
        outputs = []
        for command in commands.strip().splitlines():
            words = shlex.split(command)
            assert words.pop(0) == "sidecar"
            changed = {
                "127.0.0.1:50051": server.address,
                "articles": name,
                "corpus.jsonl": str(tmp_path / "corpus.jsonl"),
            }
            done = run_sidecar(*(changed.get(word, word) for word in words))
            assert done.returncode == 0, done.stderr
            outputs.append(done.stdout)
    assert "2 documents written" in outputs[0]
    assert "asyncio" in outputs[1]
    assert "shutil" not in outputs[1]
