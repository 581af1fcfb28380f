"""The standard library as documents: by the names under which it is imported, without importing."""

import subprocess
import sys

import pytest

from sidecar.demo.library import SCHEMA, read_library


@pytest.fixture(scope="module")
def library() -> dict:
    return {document.doc_id: document for document in read_library()}


def test_some_thousands_of_documents_that_fit_the_schema(library: dict) -> None:
    assert 3_000 < len(library) < 20_000
    for document in library.values():
        assert set(document.fields) == {field.name for field in SCHEMA.text_fields}
        assert set(document.attributes) == {attribute.name for attribute in SCHEMA.attributes}
        assert document.fields["text"].strip()


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("asyncio.gather", "function", "asyncio"),
        ("concurrent.futures.as_completed", "function", "concurrent.futures"),
        ("collections.Counter", "class", "collections"),
        ("collections.Counter.most_common", "method", "collections"),
        ("collections.deque", "class", "collections"),
        ("os.path.join", "function", "os.path"),
        ("itertools.groupby", "class", "itertools"),
        ("dict.fromkeys", "method", "builtins"),
        ("json", "module", "json"),
    ],
)
def test_known_names(library: dict, name: str, kind: str, module: str) -> None:
    assert library[name].attributes == {"module": module, "kind": kind}


def test_titles_carry_signatures(library: dict) -> None:
    assert library["bisect.bisect_left"].fields["title"].startswith("bisect.bisect_left(a, x, lo=0")


def test_private_names_and_tests_are_left_out(library: dict) -> None:
    parts = {part for name in library for part in name.split(".")}
    assert not {part for part in parts if part.startswith("_") and part != "__future__"}
    modules = {part for d in library.values() for part in str(d.attributes["module"]).split(".")}
    assert not modules & {"test", "tests", "idlelib", "antigravity"}


def test_only_the_wanted_modules() -> None:
    modules = {str(d.attributes["module"]).partition(".")[0] for d in read_library(["json"])}
    assert modules == {"json"}


def test_sources_are_not_imported() -> None:
    code = (
        "import sys; from sidecar.demo.library import read_library; list(read_library());"
        "print({'turtle', 'webbrowser', 'smtplib', 'tkinter'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
