"""Files of documents: JSONL and CSV, their places, and what a malformed line is answered with."""

from pathlib import Path

import pytest

from sidecar.commands.documents import DocumentBuilder, Place, read_records
from sidecar.errors import InputFileError
from sidecar.v1 import collection_pb2, document_pb2, filter_pb2

SCHEMA = collection_pb2.Schema(
    text_fields=[collection_pb2.TextField(name="title"), collection_pb2.TextField(name="text")],
    attributes=[
        collection_pb2.AttributeField(name="year", type=filter_pb2.ATTRIBUTE_TYPE_INTEGER),
        collection_pb2.AttributeField(name="tags", type=filter_pb2.ATTRIBUTE_TYPE_STRING_LIST),
    ],
)
JSONL = (
    '{"_id": "a", "title": "A", "text": "über", "metadata": {"year": 1999, "brand": "x"}}\n'
    "\n"
    '{"_id": "b", "title": "B", "metadata": {"tags": ["u", "v"], "year": null}}\n'
)
CSV = '\ufeffid,title,text,year,tags,url\na,A,"two\nlines",1999,,http://a\nb,B,,,u|v,http://b\n'


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def build_all(path: Path) -> tuple[list[document_pb2.Document], DocumentBuilder]:
    builder = DocumentBuilder(path, SCHEMA)
    return [builder.build(record) for record in read_records(path, Place())], builder


@pytest.mark.parametrize(("name", "text"), [("x.jsonl", JSONL), ("x.csv", CSV)])
def test_documents_of_both_formats(tmp_path: Path, name: str, text: str) -> None:
    (a, b), builder = build_all(write(tmp_path / name, text))
    assert [a.doc_id, b.doc_id] == ["a", "b"]
    assert a.fields["title"] == "A"
    assert a.fields["text"] in ("über", "two\nlines")
    assert a.attributes["year"].integer_value == 1999
    assert list(b.attributes["tags"].string_list_value.values) == ["u", "v"]
    assert "year" not in b.attributes
    assert builder.left_out in ({"brand"}, {"url"})


@pytest.mark.parametrize(("name", "text"), [("x.jsonl", JSONL), ("x.csv", CSV)])
def test_reading_goes_on_at_every_place(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path / name, text)
    records = list(read_records(path, Place()))
    for count, record in enumerate(records, start=1):
        rest = list(read_records(path, record.end))
        assert rest == records[count:]
    assert records[-1].end.byte == path.stat().st_size


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", CSV)
    assert [record.line for record in read_records(path, Place())] == [2, 4]
    assert [r.line for r in read_records(write(tmp_path / "x.jsonl", JSONL), Place())] == [1, 3]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", '{"_id": "a"}\n{"_id": \n', "x.jsonl, line 2: not valid JSON"),
        ("x.jsonl", '{"_id": "a", "metadata": 3}\n', 'line 1: "metadata" is not an object'),
        (
            "x.jsonl",
            '{"_id": "a", "metadata": {"year": "x"}}\n',
            'line 1: attribute "year": "x" is',
        ),
        ("x.jsonl", '{"_id": "a", "text": 4}\n', 'line 1: "text" is a int'),
        ("x.csv", "title,text\nA,B\n", "line 1: the header names none of _id, id, doc_id"),
        ("x.csv", "id,title\na,A\nb\n", "line 3: 1 columns, but the header names 2"),
        ("x.csv", "id,title\n,A\n", 'line 2: "id" is empty'),
        ("x.csv", 'id,title\na,"A" B\n', "line 2: not valid CSV"),
        ("x.csv", "id,title\na,\n", ""),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path / name, text)
    if not message:
        assert len(build_all(path)[0]) == 1
        return
    with pytest.raises(InputFileError) as caught:
        build_all(path)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"nowhere.jsonl: cannot be read"):
        list(read_records(tmp_path / "nowhere.jsonl", Place()))
