import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from sidecar.errors import ModelError
from sidecar.models.hub import CARRIED, carried_names, find_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_carried_names_come_first() -> None:
    for name in carried_names():
        assert find_folder(name, "") == (CARRIED / name, "")


def test_a_folder(tmp_path: Path) -> None:
    assert find_folder(str(tmp_path), "") == (tmp_path, "")


@pytest.mark.parametrize("name", ["pair-minilm-l7", "./nowhere", "/no/such/folder", "a b"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ModelError, match="there is no model") as caught:
        find_folder(name, "")
    assert "pair-minilm-l6" in caught.value.message


def test_the_nearest_carried_name_is_told() -> None:
    with pytest.raises(ModelError, match="did you mean 'pair-minilm-l6'"):
        find_folder("pair-minilm-16", "")


@pytest.mark.parametrize("revision", ["", "main", "refs/pr/1"])
def test_a_hub_name_needs_a_pinned_revision(revision: str) -> None:
    with pytest.raises(ModelError, match="needs a pinned revision"):
        find_folder("organisation/model", revision)


def test_without_a_network_the_way_out_is_told(tmp_path: Path) -> None:
    """In a process of its own: the client reads its environment once."""
    code = f"from sidecar.models.hub import find_folder; find_folder('org/model', {COMMIT!r})"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"sidecar.errors.ModelError: org/model at {COMMIT} cannot be had")
    assert "HF_HUB_OFFLINE=1" in last


def test_safetensors_are_fetched_only_where_there_is_no_onnx(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, str, list[str]]] = []

    def snapshot_download(name: str, revision: str, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert find_folder("organisation/model", COMMIT) == (tmp_path, COMMIT)
    assert [patterns == ["*.safetensors"] for _, _, patterns in asked] == [False, True]
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    find_folder("organisation/model", COMMIT)
    assert len(asked) == 3
