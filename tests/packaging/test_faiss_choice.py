"""`make install-gpu` ends with the module of faiss-gpu: the real target, the real pip, wheels that
stand in for the real ones, and no network.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def stand_in_wheel(
    folder: Path, name: str, requires: list[str], extras: list[str], source: str | None = None
) -> None:
    """A wheel of version 99.0 with this metadata, and a module `faiss` of this source."""
    module = name.replace("-", "_")
    info = f"{module}-99.0.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 99.0"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    metadata += [f"Provides-Extra: {extra}" for extra in extras]
    files = {
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if source is not None:
        files["faiss/__init__.py"] = source
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{module}-99.0-py3-none-any.whl", "w") as wheel:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(path, text)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """Our requirements on faiss and vllm as pyproject.toml has them, and wheels that meet them."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = [r for r in project["dependencies"] if r.startswith("faiss")]
    ours += [f'{r}; extra == "gpu"' for r in project["optional-dependencies"]["gpu"]]
    stand_in_wheel(folder, "search-sidecar", ours, ["gpu"])
    stand_in_wheel(folder, "vllm", [], [])
    stand_in_wheel(folder, "faiss-cpu", [], [], "BUILT_FOR = 'cpu'\n")
    stand_in_wheel(folder, "faiss-gpu", [], [], "BUILT_FOR = 'gpu'\n")
    return folder


@pytest.mark.parametrize("before", [[], ["search-sidecar"]], ids=["fresh", "after-a-cpu-install"])
def test_install_gpu_ends_with_the_gpu_module(wheels: Path, tmp_path: Path, before: list[str]):
    if shutil.which("make") is None:
        pytest.skip("make is not installed (Debian, Ubuntu: apt-get install make)")
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    offline = ["--no-index", "--find-links", str(wheels)]
    if before:
        subprocess.run([python, "-m", "pip", "install", "-q", *offline, *before], check=True)
    settings = [f"VENV={environment}", "PACKAGE=search-sidecar", f"PIP_FLAGS={' '.join(offline)}"]
    command = ["make", "-C", str(ROOT), "install-gpu", *settings, f"PYTHON={sys.executable}"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    which = subprocess.run(
        [python, "-c", "import faiss; print(faiss.BUILT_FOR)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert which.stdout.strip() == "gpu"
