"""Fields of labelled rows: which names they go by, and what may stand in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from training.examples.base import Passage, Row

QUERY = ("query", "question", "anchor")
PASSAGE = ("passage", "document", "doc", "text")
DOC_ID = ("doc_id", "docid", "document_id", "passage_id", "corpus_id", "corpus-id")
LABEL = ("score", "label", "relevance", "grade", "gain")
_ID = ("_id", "id", *DOC_ID)
_TEXT = ("text", "contents", "content", "passage", "body")


def first_of(row: Row, names: Sequence[str]) -> str:
    """The first of the names under which the row has something, "" for none."""
    return next((name for name in names if row.get(name) not in (None, "")), "")


def has(row: Row, names: Sequence[str]) -> bool:
    """Whether the row has one of the names, empty or not."""
    return any(name in row for name in names)


def query_of(row: Row) -> str:
    """The query's text. Raises ValueError."""
    name = first_of(row, QUERY)
    if not name:
        raise ValueError(f"no query: give it in {in_words(QUERY)}")
    if not isinstance(row[name], str) or not row[name].strip():
        raise ValueError(f"{name}: {_shown(row[name])} is no text")
    return str(row[name])


def passages_of(row: Row, texts: Sequence[str], ids: Sequence[str]) -> Iterator[Passage]:
    """Those under any of the names: one or a list, texts or objects; and those by id."""
    for name in texts:
        for each in _as_list(row.get(name)):
            yield to_passage_of(each, name)
    for name in ids:
        for each in _as_list(row.get(name)):
            if not isinstance(each, str | int) or isinstance(each, bool) or each == "":
                raise ValueError(f"{name}: {_shown(each)} is no document id")
            yield Passage(doc_id=str(each))


def to_passage_of(value: Any, name: str) -> Passage:
    """Of a text, or of an object with an id, a title and a text, as far as it has them. Raises
    ValueError."""
    if isinstance(value, str) and value.strip():
        return Passage(text=value)
    if not isinstance(value, dict):
        raise ValueError(f"{name}: {_shown(value)} is no passage: give a text or an object")
    doc_id, text = first_of(value, _ID), first_of(value, _TEXT)
    title = value.get("title") or ""
    passage = Passage(str(value[doc_id]) if doc_id else "", title, value[text] if text else "")
    if not isinstance(passage.title, str) or not isinstance(passage.text, str):
        raise ValueError(f"{name}: title and text of a passage are texts")
    if not passage.doc_id and not passage.is_inline:
        raise ValueError(f"{name}: a passage without an id and without a text")
    return passage


def label_of(value: Any, name: str) -> float | str:
    """A number, or the name of a grade. Raises ValueError."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        number = float(value)
    elif isinstance(value, str) and value.strip():
        try:
            number = float(value)
        except ValueError:
            return value.strip()
    else:
        raise ValueError(f"{name}: {_shown(value)} is neither a number nor the name of a grade")
    if not abs(number) < float("inf"):
        raise ValueError(f"{name}: {value} is no number to rank by")
    return number


def list_of(row: Row, name: str) -> list[Any]:
    """The list under a name; in a cell of a table it is JSON. Raises ValueError."""
    value = _parsed(row[name])
    if not isinstance(value, list):
        raise ValueError(f"{name}: {_shown(value)} is no list")
    return value


def in_words(names: Sequence[str]) -> str:
    """Names of fields, for people."""
    return " or ".join(f'"{name}"' for name in names)


def _as_list(value: Any) -> list[Any]:
    value = _parsed(value)
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _parsed(value: Any) -> Any:
    """Cells of a table hold lists and objects as JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _shown(value: Any) -> str:
    """A value in a message, not all of a long one."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
