"""What was acknowledged is taken up again only where the file before it is the same."""

from pathlib import Path

import pytest

from sidecar.commands.documents import Place
from sidecar.commands.progress import ProgressFile
from sidecar.errors import InputFileError


@pytest.fixture
def input_path(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b"one\ntwo\nthree\n")
    return path


def saved(input_path: Path, collection: str = "c") -> Path:
    state = input_path.with_name("state")
    progress_file = ProgressFile(state, input_path, collection)
    progress_file.save(Place(1, 4), "a", 1)
    progress_file.save(Place(2, 8), "b", 2)
    return state


def test_goes_on_where_it_was(input_path: Path) -> None:
    progress = ProgressFile(saved(input_path), input_path, "c").load()
    assert progress is not None
    assert (progress.line, progress.byte) == (2, 8)
    assert (progress.last_doc_id, progress.documents) == ("b", 2)


def test_a_mended_later_line_does_not_matter(input_path: Path) -> None:
    state = saved(input_path)
    input_path.write_bytes(b"one\ntwo\nmended\nfour\n")
    assert ProgressFile(state, input_path, "c").load() is not None


@pytest.mark.parametrize("content", [b"one\ntwO\nthree\n", b"one\n"])
def test_a_changed_earlier_line_starts_again(input_path: Path, content: bytes) -> None:
    state = saved(input_path)
    input_path.write_bytes(content)
    assert ProgressFile(state, input_path, "c").load() is None


def test_another_collection_starts_again(input_path: Path) -> None:
    assert ProgressFile(saved(input_path), input_path, "other").load() is None


def test_a_damaged_state_starts_again(input_path: Path) -> None:
    state = saved(input_path)
    state.write_text('{"line": 2')
    assert ProgressFile(state, input_path, "c").load() is None


def test_an_unwritable_place_names_the_way_out(input_path: Path, tmp_path: Path) -> None:
    progress_file = ProgressFile(tmp_path / "nowhere" / "state", input_path, "c")
    with pytest.raises(InputFileError, match="name another place with --state"):
        progress_file.save(Place(1, 4), "a", 1)
