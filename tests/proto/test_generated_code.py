"""The generated code is what the proto files give today."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "sidecar" / "v1"
# The first line of sidecar/v1/*_pb2_grpc.py says the release that wrote it.
VERSION = re.search(
    r"GRPC_GENERATED_VERSION = '(.+)'", (GENERATED / "search_pb2_grpc.py").read_text()
)


def grpcio_tools_version() -> str | None:
    """The installed release, if any."""
    try:
        return importlib.metadata.version("grpcio-tools")
    except importlib.metadata.PackageNotFoundError:
        return None


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    assert VERSION is not None
    if grpcio_tools_version() != VERSION.group(1):
        pytest.skip(f"grpcio-tools {VERSION.group(1)} is not installed: pip install .[dev]")
    protos = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("proto/sidecar/v1/*.proto"))
    out = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *out, *protos]
    # The tools of that release import pkg_resources, which warns.
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    made = {path.name: path.read_bytes() for path in (tmp_path / "sidecar" / "v1").iterdir()}
    kept = {
        path.name: path.read_bytes()
        for path in GENERATED.iterdir()
        if path.is_file() and path.name != "__init__.py"
    }
    assert sorted(made) == sorted(kept)
    different = [name for name in made if made[name] != kept[name]]
    assert not different, f"run `make proto`: {different}"


def test_every_proto_file_has_its_modules() -> None:
    stems = {path.stem for path in ROOT.glob("proto/sidecar/v1/*.proto")}
    modules = {path.name for path in GENERATED.glob("*_pb2*.py*")}
    expected = {f"{stem}_pb2{end}" for stem in stems for end in (".py", ".pyi", "_grpc.py")}
    assert modules == expected
