"""The BEIR folder: what is read, and what each malformed line is answered with."""

from pathlib import Path

import pytest

from sidecar.errors import InputFileError
from sidecar.evaluation.beir import read_corpus, read_jsonl, read_judged_set


def write_set(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    documents = [f'{{"_id": "d{n}", "title": "t{n}", "text": "body {n}"}}' for n in range(1, 11)]
    (folder / "corpus.jsonl").write_text("\n".join(documents) + "\n")
    (folder / "queries.jsonl").write_text(
        "".join(f'{{"_id": "q{n}", "text": "query {n}"}}\n' for n in (1, 2, 3))
    )
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq3\td3\t2\nq1\td1\t1\nq1\td2\t0\n"
    )
    return folder


def replace_line(path: Path, number: int, text: bytes) -> None:
    lines = path.read_bytes().splitlines()
    lines[number - 1] = text
    path.write_bytes(b"\n".join(lines) + b"\n")


def test_reads_documents_queries_and_judgments(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "tiny")
    documents = [document for _, document in read_corpus(folder)]
    assert len(documents) == 10
    assert documents[2].fields == {"title": "t3", "text": "body 3"}
    judged = read_judged_set(folder, "test")
    assert judged.name == "tiny"
    assert judged.queries == {"q1": "query 1", "q3": "query 3"}
    assert judged.qrels == {"q1": {"d1": 1, "d2": 0}, "q3": {"d3": 2}}


def test_limit_takes_the_first_judged_queries(tmp_path: Path) -> None:
    assert list(read_judged_set(write_set(tmp_path / "tiny"), "test", limit=1).qrels) == ["q1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"_id": "d7", "title": "t7"', "not valid JSON"),
        (b'["d7"]', "give one JSON object a line"),
        (b'{"title": "t7"}', '"_id" is missing or empty'),
        (b'{"_id": 7, "title": "t7"}', '"_id" is a int'),
        (b'{"_id": "d7", "text": ["a"]}', '"text" is a list'),
        (b'{"_id": "d7", "text": "\xff"}', "not UTF-8 at byte 23"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    folder = write_set(tmp_path / "tiny")
    replace_line(folder / "corpus.jsonl", 7, line)
    with pytest.raises(InputFileError) as caught:
        list(read_corpus(folder))
    assert caught.value.line == 7
    assert f"corpus.jsonl, line 7: {message}" in str(caught.value)


def test_blank_lines_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (3, {"a": 2})]


def test_a_judgment_without_number_is_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "tiny")
    replace_line(folder / "qrels" / "test.tsv", 3, b"q1\td1\tmuch")
    with pytest.raises(InputFileError, match=r"test.tsv, line 3: give query-id"):
        read_judged_set(folder, "test")


def test_a_missing_split_names_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"dev.tsv: cannot be read.*splits there: test"):
        read_judged_set(write_set(tmp_path / "tiny"), "dev")


def test_a_judged_query_that_is_nowhere_is_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "tiny")
    with (folder / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q9\td1\t1\n")
    with pytest.raises(InputFileError, match=r"queries.jsonl: 1 queries .* first 'q9'"):
        read_judged_set(folder, "test")
