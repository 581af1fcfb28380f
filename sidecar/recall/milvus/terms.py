"""The terms of a text as Milvus gets them: one string, from which any tokenizer takes them back.

Our analyzers make the terms, so that they are the same in every backend. Here each becomes one word
of ASCII letters and digits, which no tokenizer splits and no filter changes: a letter for the
analyzer, then the term, or its UTF-8 in hexadecimal where it has other characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sidecar.recall.analyzers import analyzer
from sidecar.types import Schema

_FIRST_LETTER = ord("a")


def document_terms(fields: Mapping[str, str], schema: Schema) -> str:
    """The terms of all text fields, those of one analyzer as if they were one field."""
    return " ".join(
        term
        for position, name in enumerate(_analyzers(schema))
        for field in schema.text_fields
        if field.analyzer == name
        for term in _terms(name, position, fields.get(field.name, ""))
    )


def query_terms(query: str, schema: Schema) -> str:
    """The terms of a query, each as often as it has it; empty if it has none."""
    return " ".join(
        term
        for position, name in enumerate(_analyzers(schema))
        for term in _terms(name, position, query)
    )


def _analyzers(schema: Schema) -> list[str]:
    return sorted({field.analyzer for field in schema.text_fields})


def _terms(analyzer_name: str, position: int, text: str) -> Iterator[str]:
    plain, encoded = (chr(_FIRST_LETTER + 2 * position + each) for each in (0, 1))
    for term in analyzer(analyzer_name)(text):
        if term.isascii() and term.isalnum():
            yield plain + term
        else:
            yield encoded + term.encode().hex()
