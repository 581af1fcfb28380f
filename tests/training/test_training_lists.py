"""Lists and passages go through files unchanged; a damaged line is named."""

import dataclasses

import pytest

from sidecar.errors import InputFileError
from training.lists import (
    ListCandidate,
    Source,
    Split,
    TrainingList,
    read_lists,
    read_passages,
    write_lists,
    write_passages,
)

LISTS = [
    TrainingList(
        "q1",
        "Grüße\n «1»",
        Split.TRAIN,
        (
            ListCandidate("d1", 0.5, 2, 0.25, Source.CLICKED),
            ListCandidate("d2", 1.0, 4, 1.0, Source.JUDGED, teacher=-3.5),
            ListCandidate("d3", 0.0, 0, 1.0, Source.HARD),
        ),
    ),
    TrainingList("q2", "x", Split.DEV, ()),
]


def test_round_trip(tmp_path):
    path = tmp_path / "lists.jsonl"
    assert write_lists(LISTS, path) == 2
    assert list(read_lists(path)) == LISTS
    assert list(read_lists(path, Split.DEV)) == LISTS[1:]


def test_positives_are_best_first():
    assert [each.doc_id for each in LISTS[0].positives] == ["d2", "d1"]
    assert LISTS[0].judged == {"d1": 2, "d2": 4, "d3": 0}


@pytest.mark.parametrize(
    ("line", "told"),
    [("{", "line 2"), ('{"query_id": 1}', "no training list"), ("[]", "no training list")],
)
def test_a_damaged_line_is_named(tmp_path, line, told):
    path = tmp_path / "lists.jsonl"
    write_lists(LISTS[:1], path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputFileError) as refused:
        list(read_lists(path))
    assert told in refused.value.message
    assert "2" in refused.value.message


def test_an_unknown_source_is_refused(tmp_path):
    path = tmp_path / "lists.jsonl"
    write_lists([dataclasses.replace(LISTS[0])], path)
    path.write_text(path.read_text().replace('"hard"', '"soft"'))
    with pytest.raises(InputFileError, match="soft"):
        list(read_lists(path))


def test_passages(tmp_path):
    passages = {"a": "title\ntext", "b": ""}
    write_passages(passages, tmp_path / "p.jsonl")
    assert read_passages(tmp_path / "p.jsonl") == passages
    with pytest.raises(InputFileError):
        read_passages(tmp_path / "none.jsonl")
