"""What the README says of filters and facets is done as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from pathlib import Path

from sidecar_process import run_sidecar, serving

README = Path(__file__).parents[1] / "README.md"
SECTION = re.search(r"^### Filters and facets$(.*?)^##", README.read_text(), re.DOTALL | re.M)
# (kind, year, module) of documents 0, 1, 2, ...
DOCUMENTS = [
    (("function", "method")[number % 2], 2010 + number, f"module{number % 3}")
    for number in range(12)
]


def test_its_command(tmp_path: Path) -> None:
    assert SECTION is not None
    (block,) = re.findall(r"^```sh\n(.*?)^```$", SECTION[1], re.DOTALL | re.M)
    command = block.replace("\\\n", " ")
    lines = [
        json.dumps(
            {
                "_id": f"d{number}",
                "text": "wait for several tasks",
                "metadata": {"kind": kind, "year": year, "module": module},
            }
        )
        for number, (kind, year, module) in enumerate(DOCUMENTS)
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    with serving(tmp_path) as server:
        declared = (
            f"--attribute={name}" for name in ("kind:string", "module:string", "year:integer")
        )
        target = ("--to", server.address, "--collection", "articles", "--create", *declared)
        done = run_sidecar("index", tmp_path / "corpus.jsonl", *target)
        assert done.returncode == 0, done.stderr
        words = shlex.split(command.replace("127.0.0.1:50051", server.address))
        assert words.pop(0) == "sidecar"
        found = run_sidecar(*words)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    passing = [one for one in DOCUMENTS if one[0] == "function" and one[1] >= 2015]
    for name, values in (
        ("module", Counter(module for _, _, module in passing)),
        ("year", Counter(year for _, year, _ in passing)),
    ):
        counts = sorted(values.items(), key=lambda pair: (-pair[1], pair[0]))
        assert f" {name}: " + ", ".join(f"{value} {count}" for value, count in counts) in lines
