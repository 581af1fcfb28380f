"""The lexical index: BM25 by tantivy over terms that our own analyzers make.

All text fields of one analyzer are one field of the index, so BM25 is that of the whole document
(k1 = 1.2, b = 0.75, fixed in tantivy). Attributes are indexed beside it, so that a filter is part
of the query and cuts before ranking.

Each commit holds a sentinel, the entry with ordinal 0, whose `watermark` is the sequence number up
to which the index has every write. It has no text, so no search returns it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tantivy

from sidecar.errors import DamagedError, StorageError
from sidecar.recall.analyzers import ANALYZERS_VERSION, analyzer
from sidecar.recall.embedded.filters import attribute_field, to_query
from sidecar.recall.embedded.tantivy_files import check_segments
from sidecar.storage.documents import Header, TextChange, TextChanges
from sidecar.storage.files import remove_tree, storage_errors, write_whole
from sidecar.storage.rows import to_row_values
from sidecar.types import AttributeType, Filter, Schema

FORMAT = 1
ABOUT = "about.json"
WRITER_HEAP_BYTES = 64_000_000
# A query is at most 8 KiB; beyond so many different terms the rarest decide its ranking.
MAX_QUERY_TERMS = 256
_SENTINEL = 0
# How tantivy says what the system said (Rust's std::io::Error, by Debug and by Display), other than
# that a file is not there; and that somebody writes the index.
_PASSING = re.compile(r"(code: |os error )(?!2\b)\d+|LockBusy")

Term = tuple[str, str]  # (field of the index, term)


class LexicalIndex:
    """One collection's index. `search` reads the last commit; one thread at a time applies."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        """Opens what `open_lexical` has prepared."""
        self._folder = folder
        self._types = schema.attribute_types()
        self._fields_by_analyzer = _fields_by_analyzer(schema)
        self._schema = _to_index_schema(schema)
        with _index_errors(folder, DamagedError):
            self._index = tantivy.Index(self._schema, str(folder), reuse=True)
            self._index.config_reader("manual", 0)
            self._writer = self._new_writer()
            self._searcher = self._index.searcher()
            self.watermark = _read_watermark(self._searcher, self._schema)

    @property
    def count(self) -> int:
        """Documents in the index."""
        return max(0, self._searcher.num_docs - 1)

    def search(
        self, query: str, filter: Filter | None, depth: int
    ) -> list[tuple[int, float]] | None:
        """(ordinal, BM25) of the `depth` best documents, best first; None: the query has no term.

        Equal scores keep the order of the index, which is fixed between two commits.
        """
        searcher = self._searcher
        terms = self._query_terms(query)
        if not terms:
            return None
        text_query = self._text_query(searcher, terms)
        if text_query is None:
            return []
        whole = self._filtered(text_query, filter)
        with _index_errors(self._folder):
            hits = searcher.search(whole, depth, count=False).hits
            ordinals = _column(searcher, "ordinal", hits)
        return [(ordinal, hit[0]) for ordinal, hit in zip(ordinals, hits, strict=True)]

    def apply(self, changes: TextChanges) -> None:
        """Commits changes and the watermark together, then searches see them.

        Raises StorageError; the index is then as of the commit before.
        """
        with _index_errors(self._folder):
            try:
                for ordinal in (_SENTINEL, *changes.deleted):
                    self._writer.delete_documents_by_term("ordinal", ordinal)
                for change in changes.written:
                    self._writer.delete_documents_by_term("ordinal", change.ordinal)
                    self._writer.add_document(self._to_entry(change))
                sentinel = {"ordinal": _SENTINEL, "watermark": changes.upto}
                self._writer.add_document(tantivy.Document.from_dict(sentinel, self._schema))
                self._writer.commit()
            except BaseException:
                self._renew_writer()
                raise
            self._index.reload()
            self._searcher = self._index.searcher()
            self.watermark = changes.upto

    def sequences(self) -> dict[int, int]:
        """The sequence number of every entry by ordinal, the sentinel left out: for `verify`."""
        searcher = self._searcher
        if searcher.num_docs == 0:
            return {}
        found = searcher.search(tantivy.Query.all_query(), searcher.num_docs, count=False).hits
        ordinals = _column(searcher, "ordinal", found)
        entries = dict(zip(ordinals, _column(searcher, "sequence", found), strict=True))
        entries.pop(_SENTINEL, None)
        return entries

    def check(self) -> list[str]:
        """What is wrong with the files of the index."""
        with storage_errors(self._folder):
            return check_segments(self._folder)

    def close(self) -> None:
        """Gives up the writer and its lock; searches under way go on. May be called twice.

        What is not committed is in the truth.
        """
        with contextlib.suppress(AttributeError):
            del self._writer

    def _query_terms(self, query: str) -> Counter[Term]:
        return Counter(
            (text_field(name), term)
            for name in self._fields_by_analyzer
            for term in analyzer(name)(query)
        )

    def _text_query(self, searcher: tantivy.Searcher, terms: Counter[Term]) -> tantivy.Query | None:
        """Any of the terms, a repeated one weighing more; None if the index has none of them."""
        weighted = [
            (tantivy.Occur.Should, self._term_query(term, terms[term]))
            for term in _rarest(searcher, terms)
        ]
        return tantivy.Query.boolean_query(weighted) if weighted else None

    def _term_query(self, term: Term, weight: int) -> tantivy.Query:
        query = tantivy.Query.term_query(self._schema, *term, "freq")
        return query if weight == 1 else tantivy.Query.boost_query(query, float(weight))

    def _filtered(self, text_query: tantivy.Query, filter: Filter | None) -> tantivy.Query:
        if filter is None:
            return text_query
        # A constant score of 0 leaves BM25 as it is without the filter.
        cut = tantivy.Query.const_score_query(to_query(filter, self._schema, self._types), 0.0)
        return tantivy.Query.boolean_query(
            [(tantivy.Occur.Must, text_query), (tantivy.Occur.Must, cut)]
        )

    def _to_entry(self, change: TextChange) -> tantivy.Document:
        entry: dict[str, object] = {"ordinal": change.ordinal, "sequence": change.sequence}
        for name, fields in self._fields_by_analyzer.items():
            read = analyzer(name)
            terms = [term for field in fields for term in read(change.fields.get(field, ""))]
            entry[text_field(name)] = " ".join(terms)
        for name, value in change.attributes.items():
            entry[attribute_field(name)] = list(to_row_values(value))
        # Typed by the schema: a value of another type would end the writer.
        return tantivy.Document.from_dict(entry, self._schema)

    def _renew_writer(self) -> None:
        """A writer that failed may be dead; a new one starts from the last commit."""
        with contextlib.suppress(AttributeError):
            del self._writer
        self._writer = self._new_writer()

    def _new_writer(self) -> tantivy.IndexWriter:
        writer = self._index.writer(WRITER_HEAP_BYTES, 1)
        # A commit that was broken off leaves files under names that the same one takes again.
        writer.garbage_collect_files()
        return writer


def open_lexical(folder: Path, header: Header) -> LexicalIndex:
    """The index of a folder, new if there is none.

    Raises DamagedError if it is damaged, of another collection, or of other analyzers or schema:
    then it is to be set aside and built again. StorageError if it cannot be opened now.
    """
    about = {
        "format": FORMAT,
        "collection_id": header.collection_id,
        "analyzers_version": ANALYZERS_VERSION,
    }
    with storage_errors(folder):
        try:
            folder.mkdir()
        except FileExistsError:
            return _opened(folder, header, about)
    try:
        index = LexicalIndex(folder, header.schema)
        write_whole(folder / ABOUT, json.dumps(about).encode())
    except BaseException:
        # What is there without the file that comes last would be taken for a damaged index.
        with contextlib.suppress(OSError):
            remove_tree(folder)
        raise
    return index


def _opened(folder: Path, header: Header, about: dict[str, object]) -> LexicalIndex:
    with storage_errors(folder):
        _check_about(folder / ABOUT, about)
        if findings := check_segments(folder):
            raise DamagedError(findings[0])
    return LexicalIndex(folder, header.schema)


class UnopenedLexicalIndex:
    """In the place of an index that cannot be opened at present. Its watermark is before all."""

    watermark = -1
    count = 0

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def search(
        self, query: str, filter: Filter | None, depth: int
    ) -> list[tuple[int, float]] | None:
        """Raises StorageError."""
        raise StorageError(self.reason)

    def close(self) -> None:
        """Nothing is open."""


def text_field(analyzer_name: str) -> str:
    """The field of the index that holds the terms of an analyzer."""
    return f"text_{analyzer_name}"


def _check_about(path: Path, wanted: dict[str, object]) -> None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DamagedError(f"{path}: missing") from error
    except ValueError as error:
        raise DamagedError(f"{path}: damaged: {error}") from error
    for key, value in wanted.items():
        if not isinstance(found, dict) or found.get(key) != value:
            raise DamagedError(f"{path}: not of this collection and version: {key} differs")


def _fields_by_analyzer(schema: Schema) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for field in schema.text_fields:
        fields.setdefault(field.analyzer, []).append(field.name)
    return fields


def _to_index_schema(schema: Schema) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    # Signed, since tantivy-py deletes by a signed term: on an unsigned field it deletes nothing.
    builder.add_integer_field("ordinal", indexed=True, fast=True)
    builder.add_integer_field("sequence", fast=True)
    builder.add_integer_field("watermark", fast=True)
    for name in _fields_by_analyzer(schema):
        builder.add_text_field(text_field(name), tokenizer_name="whitespace", index_option="freq")
    for attribute in schema.attributes:
        name = attribute_field(attribute.name)
        match attribute.type:
            case AttributeType.STRING | AttributeType.STRING_LIST:
                builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
            case AttributeType.DOUBLE:
                builder.add_float_field(name, indexed=True, fast=True)
            case AttributeType.INTEGER | AttributeType.BOOLEAN | AttributeType.TIMESTAMP:
                builder.add_integer_field(name, indexed=True, fast=True)
    return builder.build()


def _rarest(searcher: tantivy.Searcher, terms: Counter[Term]) -> Sequence[Term]:
    """The terms that the index has, at most MAX_QUERY_TERMS, the rarest kept."""
    frequencies = {term: searcher.doc_freq(*term) for term in terms}
    present = [term for term in terms if frequencies[term] > 0]
    if len(present) <= MAX_QUERY_TERMS:
        return present
    return sorted(present, key=lambda term: (frequencies[term], term))[:MAX_QUERY_TERMS]


def _read_watermark(searcher: tantivy.Searcher, schema: tantivy.Schema) -> int:
    if searcher.num_docs == 0:
        return 0
    sentinels = searcher.search(tantivy.Query.term_query(schema, "ordinal", _SENTINEL), 2).hits
    if len(sentinels) != 1:
        raise ValueError(f"{len(sentinels)} sentinels instead of 1")
    (watermark,) = _column(searcher, "watermark", sentinels)
    return watermark


def _column(
    searcher: tantivy.Searcher, name: str, hits: Sequence[tuple[Any, tantivy.DocAddress]]
) -> list[int]:
    """An integer of each hit; 0 where it has none."""
    values = searcher.fast_field_values(name, [address for _, address in hits])
    return [int(value or 0) for value in values]


@contextlib.contextmanager
def _index_errors(folder: Path, fault: type[StorageError] = StorageError) -> Iterator[None]:
    """Raises what tantivy raises, a panic in it included, as `fault`; as StorageError what only the
    system said."""
    try:
        with storage_errors(folder):
            yield
    except (ValueError, RuntimeError, SystemError) as error:
        kind = StorageError if _PASSING.search(str(error)) else fault
        raise kind(f"{folder}: the lexical index failed: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise fault(f"{folder}: the lexical index panicked: {error}") from error
