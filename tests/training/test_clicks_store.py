"""A click log through its file: the same again, to the byte."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from click_logs import a_world
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import InputFileError
from training.clicks.log import ClickLog, click_log
from training.clicks.store import read_clicks, write_clicks


def assert_same(one: ClickLog, other: ClickLog) -> None:
    for field in dataclasses.fields(ClickLog):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, tuple):
            assert left == right
        else:
            assert left.dtype == right.dtype, field.name
            np.testing.assert_array_equal(left, right, field.name)


def test_a_log_comes_back_as_it_was(tmp_path: Path) -> None:
    log = a_world("dcm", sessions=300).log
    write_clicks(log, tmp_path / "clicks.npz")
    assert_same(read_clicks(tmp_path / "clicks.npz"), log)


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.text(max_size=6), min_size=1, max_size=5, unique=True),
    numbers=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5),
    seconds=st.lists(st.floats(allow_nan=False), min_size=1, max_size=5),
)
def test_any_names_and_numbers(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    numbers: list[int],
    seconds: list[float],
) -> None:
    rows = min(len(numbers), len(seconds))
    log = click_log(
        np.zeros(rows),
        np.zeros((rows, 1)),
        sessions=np.array(numbers[:rows]),
        times=np.array(seconds[:rows]),
        query_names=tuple(names),
        document_names=tuple(reversed(names)),
    )
    path = tmp_path_factory.mktemp("log") / "clicks.npz"
    write_clicks(log, path)
    assert_same(read_clicks(path), log)


def test_a_log_without_impressions(tmp_path: Path) -> None:
    log = click_log(np.zeros(0), np.zeros((0, 3)), query_names=("q",), document_names=("d",))
    write_clicks(log, tmp_path / "clicks.npz")
    assert_same(read_clicks(tmp_path / "clicks.npz"), log)


def test_the_same_log_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = a_world("pbm", sessions=50).log
    digests = set()
    for day in (1, 2):
        monkeypatch.setattr("time.time", lambda day=day: 1.8e9 + day * 86_400.0)
        write_clicks(log, tmp_path / "clicks.npz")
        digests.add(hashlib.sha256((tmp_path / "clicks.npz").read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_none_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clicks.npz"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"clicks\.npz"):
        read_clicks(path)
