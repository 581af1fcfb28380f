"""The key: configured, or made once and kept from others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.errors import ConfigurationError, StorageError
from sidecar.storage.feedback.secret import read_secret


def test_a_configured_secret_is_taken_and_nothing_is_written(tmp_path: Path) -> None:
    assert read_secret(tmp_path / "feedback", "0123456789abcdef") == b"0123456789abcdef"
    assert not list(tmp_path.iterdir())


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"feedback\.secret is too short: give at least 16"
    ):
        read_secret(tmp_path, "0123456789abcde")


def test_one_is_made_at_the_first_start_and_kept(tmp_path: Path) -> None:
    made = read_secret(tmp_path / "feedback", "")
    assert len(made) == 64
    assert read_secret(tmp_path / "feedback", "") == made
    assert read_secret(tmp_path / "other", "") != made
    path = tmp_path / "feedback" / "secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_of_many_that_start_at_once_all_have_the_same(tmp_path: Path) -> None:
    call = (
        "import sys; from pathlib import Path; from sidecar.storage.feedback.secret import "
        "read_secret; print(read_secret(Path(sys.argv[1]), '').decode())"
    )
    command = [sys.executable, "-c", call, str(tmp_path)]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {start.communicate()[0] for start in starts}
    assert said == {read_secret(tmp_path, "").decode() + "\n"}


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    read_secret(tmp_path, "")
    (tmp_path / "secret").chmod(0o640)
    with pytest.raises(StorageError, match="others may read it: chmod 600"):
        read_secret(tmp_path, "")


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    read_secret(tmp_path, "")
    (tmp_path / "secret").write_bytes(b"")
    with pytest.raises(StorageError, match="too short to be a key"):
        read_secret(tmp_path, "")
