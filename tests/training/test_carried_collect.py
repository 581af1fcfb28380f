"""Documentation strings as documents, and whose licence lets them be used."""

from email.message import Message

import pytest

from training.carried.collect import (
    SourceDocument,
    _documentation_strings,
    is_permissive,
    read_documents,
    write_documents,
)

MODULE = '''
"""A module about tides.

It says when the water comes back, and how far it will go.
"""

class Tide:
    """One tide of one day.

    Its height is given in metres above the chart's zero, never in feet.
    """

    def short(self):
        """Too short."""
'''


class Package:
    """Stands in for importlib.metadata.Distribution."""

    def __init__(self, **fields: str) -> None:
        self.metadata = Message()
        for name, value in fields.items():
            self.metadata[name.replace("_", "-")] = value


def test_documentation_strings_have_dotted_names(tmp_path):
    file = tmp_path / "sea" / "tides.py"
    file.parent.mkdir()
    file.write_text(MODULE)
    found = {one.title: one for one in _documentation_strings(tmp_path, file)}
    assert set(found) == {"sea.tides", "sea.tides.Tide"}
    assert found["sea.tides.Tide"].text.startswith("One tide of one day.\n\nIts height")


def test_a_file_that_is_not_python_is_left_out(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("def (")
    assert list(_documentation_strings(tmp_path, file)) == []


@pytest.mark.parametrize(
    ("fields", "permissive"),
    [
        ({"License_Expression": "Apache-2.0"}, True),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, True),
        ({"License": "LGPL with parts under MIT"}, False),
        ({}, False),
    ],
)
def test_licences(fields, permissive):
    assert is_permissive(Package(**fields)) is permissive


def test_documents_are_read_as_written(tmp_path):
    documents = [SourceDocument("1", "scifact", "Tïtle", "text"), SourceDocument("2", "x", "", "y")]
    write_documents(documents, tmp_path / "documents.jsonl")
    assert read_documents(tmp_path / "documents.jsonl") == documents
