"""The lexical index: BM25 by tantivy over terms that our own analyzers make.

All text fields of one analyzer are one field of the index, so BM25 is that of the whole document
(k1 = 1.2, b = 0.75, fixed in tantivy). Beside it each of them is a field of its own, where there
are several, which queries with field weights read. Attributes are indexed, too, so that a filter is
part of the query and cuts before ranking.

Each commit holds a sentinel, the entry with ordinal 0, whose `watermark` is the sequence number up
to which the index has every write. It has no text, so no search returns it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tantivy

from sidecar.errors import DamagedError, StorageError
from sidecar.recall.analyzers import ANALYZERS_VERSION, analyzer
from sidecar.recall.embedded.filters import attribute_field, to_query
from sidecar.recall.embedded.lexical_fields import (
    fields_by_analyzer,
    own_fields,
    text_field,
    to_index_schema,
)
from sidecar.recall.embedded.tantivy_files import META, check_segments, has_no_commit
from sidecar.storage.files import remove_tree, storage_errors, write_whole
from sidecar.storage.headers import Header
from sidecar.storage.rows import to_row_values
from sidecar.storage.text_changes import TextChange, TextChanges
from sidecar.types import Filter, Schema

FORMAT = 2
# Without text fields of their own: all that an index of one text field to an analyzer needs.
_JOINT_FORMAT = 1
ABOUT = "about.json"
# What tantivy makes to read an index by.
_READER_LOCK = ".tantivy-meta.lock"
WRITER_HEAP_BYTES = 64_000_000
# A query is at most 8 KiB; beyond so many different terms the rarest decide its ranking.
MAX_QUERY_TERMS = 256
_SENTINEL = 0
# How tantivy says what the system said (Rust's std::io::Error, by Debug and by Display), other than
# that a file is not there; and that somebody writes the index.
_PASSING = re.compile(r"(code: |os error )(?!2\b)\d+|LockBusy")

Term = tuple[str, str]  # (field of the index, term)
Weighted = dict[Term, float]


class LexicalIndex:
    """One collection's index. `search` reads the last commit; one thread at a time applies."""

    def __init__(
        self, folder: Path, schema: Schema, format: int = FORMAT, read_only: bool = False
    ) -> None:
        """Opens what `open_lexical` has prepared; `read_only`: nothing can be applied."""
        self._folder = folder
        self._types = schema.attribute_types()
        self._text_fields = schema.text_fields
        self._fields_by_analyzer = fields_by_analyzer(schema)
        self._own_fields = own_fields(schema) if format > _JOINT_FORMAT else {}
        # Of an older format, which serves no field weights; and why its successor failed, if so.
        self.is_outdated = self._own_fields != own_fields(schema)
        self.successor_failure = ""
        self._schema = to_index_schema(schema, self._own_fields)
        with _index_errors(folder, DamagedError):
            self._index = tantivy.Index(self._schema, str(folder), reuse=True)
            self._index.config_reader("manual", 0)
            if not read_only:
                self._writer = self._new_writer()
            self._searcher = self._index.searcher()
            self.watermark = _read_watermark(self._searcher, self._schema)

    @property
    def count(self) -> int:
        """Documents in the index."""
        return max(0, self._searcher.num_docs - 1)

    def search(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        field_weights: Mapping[str, float] | None = None,
    ) -> list[tuple[int, float]] | None:
        """(ordinal, BM25) of the `depth` best documents, best first; None: the query has no term.

        With `field_weights`, the sum over text fields of weight times BM25 in that field; fields
        left out weigh 1. Equal scores keep the order of the index, which is fixed between two
        commits. Raises StorageError, also for weights on an outdated index.
        """
        searcher = self._searcher
        terms = self._weighted_terms(query, field_weights)
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

    def entries(self) -> npt.NDArray[np.int64]:
        """(entries, 2): the ordinal and the sequence number of each, by ordinal, the sentinel left
        out, all of one commit: for `verify`."""
        searcher = self._searcher
        if searcher.num_docs == 0:
            return np.empty((0, 2), np.int64)
        found = searcher.search(tantivy.Query.all_query(), searcher.num_docs, count=False).hits
        columns = [_column(searcher, name, found) for name in ("ordinal", "sequence")]
        entries: npt.NDArray[np.int64] = np.array(columns, np.int64).T
        entries = entries[entries[:, 0] != _SENTINEL]
        order = np.lexsort(entries.T[::-1])
        return entries[order].reshape(-1, 2)

    def sequences(self) -> dict[int, int]:
        """The sequence number of every entry by ordinal."""
        return dict(self.entries().tolist())

    def check(self) -> list[str]:
        """What is wrong with the files of the index."""
        with storage_errors(self._folder):
            return check_segments(self._folder)

    def close(self, leaves_folder: bool = False) -> None:
        """Gives up the writer and its lock; searches under way go on. May be called twice.

        What is not committed is in the truth. Merges of segments that are under way go on writing
        for a while, and by the folder's name; one that `leaves_folder` to others waits for them.
        """
        writer = self.__dict__.pop("_writer", None)
        if writer is not None and leaves_folder:
            # One that fails has ended, too, and its segments are as they were.
            with contextlib.suppress(ValueError, RuntimeError):
                writer.wait_merging_threads()

    def _weighted_terms(self, query: str, field_weights: Mapping[str, float] | None) -> Weighted:
        """Terms of the query, in each field of the index that is to be searched."""
        if not field_weights:
            joint = {text_field(name): (name, 1.0) for name in self._fields_by_analyzer}
            return _in_fields(query, joint)
        if self.is_outdated:
            failed = (
                self.successor_failure and f" (the last attempt failed: {self.successor_failure})"
            )
            raise StorageError(
                "the lexical index is of an older format, which has no field weights: it is built "
                f"anew beside{failed}; until then leave field_weights out"
            )
        fields = {
            self._own_fields.get(field.name, text_field(field.analyzer)): (field.analyzer, weight)
            for field in self._text_fields
            if (weight := field_weights.get(field.name, 1.0)) > 0.0
        }
        return _in_fields(query, fields)

    def _text_query(self, searcher: tantivy.Searcher, terms: Weighted) -> tantivy.Query | None:
        """Any of the terms, a repeated one weighing more; None if the index has none of them."""
        weighted = [
            (tantivy.Occur.Should, self._term_query(term, terms[term]))
            for term in _rarest(searcher, terms)
        ]
        return tantivy.Query.boolean_query(weighted) if weighted else None

    def _term_query(self, term: Term, weight: float) -> tantivy.Query:
        query = tantivy.Query.term_query(self._schema, *term, "freq")
        return query if weight == 1.0 else tantivy.Query.boost_query(query, weight)

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
            terms = {field: " ".join(read(change.fields.get(field, ""))) for field in fields}
            entry[text_field(name)] = " ".join(terms.values())
            entry |= {
                own: terms[field] for field, own in self._own_fields.items() if field in terms
            }
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

    One of an older format is served as far as it goes (`is_outdated`). Raises DamagedError if it is
    damaged, of another collection, or of other analyzers or schema: then it is to be set aside and
    built again. StorageError if it cannot be opened now.
    """
    about = _about(header)
    with storage_errors(folder):
        if _is_unfinished(folder):
            remove_tree(folder)
        try:
            folder.mkdir()
        except FileExistsError:
            return _opened(folder, header)
    try:
        index = LexicalIndex(folder, header.schema)
        write_whole(folder / ABOUT, json.dumps({"format": FORMAT, **about}).encode())
    except BaseException:
        # What is there without the file that comes last would be taken for a damaged index.
        with contextlib.suppress(OSError):
            remove_tree(folder)
        raise
    return index


def _is_unfinished(folder: Path) -> bool:
    """Whether a folder is of a process that ended while it made the index, before there was one:
    nothing says what it is of, and nothing was ever committed."""
    if not folder.is_dir() or (folder / ABOUT).exists():
        return False
    names = {path.name for path in folder.iterdir()}
    if any(name != META and not name.startswith((".", ABOUT)) for name in names):
        return False
    return META not in names or has_no_commit(folder)


def read_lexical(folder: Path, header: Header) -> LexicalIndex:
    """The index of a folder that nobody uses, which is left as it is. Raises as open_lexical."""
    lock = folder / _READER_LOCK
    leaves_no_trace = lock.exists()
    try:
        return _opened(folder, header, read_only=True)
    finally:
        if not leaves_no_trace:
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)


def _about(header: Header) -> dict[str, object]:
    return {"collection_id": header.collection_id, "analyzers_version": ANALYZERS_VERSION}


def _opened(folder: Path, header: Header, read_only: bool = False) -> LexicalIndex:
    with storage_errors(folder):
        format = _check_about(folder / ABOUT, _about(header))
        if findings := check_segments(folder):
            raise DamagedError(findings[0])
    return LexicalIndex(folder, header.schema, format, read_only)


class UnopenedLexicalIndex:
    """In the place of an index that cannot be opened at present. Its watermark is before all."""

    watermark = -1
    count = 0
    is_outdated = False

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def search(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        field_weights: Mapping[str, float] | None = None,
    ) -> list[tuple[int, float]] | None:
        """Raises StorageError."""
        raise StorageError(self.reason)

    def close(self, leaves_folder: bool = False) -> None:
        """Nothing is open."""


def _check_about(path: Path, wanted: dict[str, object]) -> int:
    """The format."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DamagedError(f"{path}: missing") from error
    except ValueError as error:
        raise DamagedError(f"{path}: damaged: {error}") from error
    kept = found if isinstance(found, dict) else {}
    format = kept.get("format")
    differing = [key for key, value in wanted.items() if kept.get(key) != value]
    if differing or not isinstance(format, int) or not _JOINT_FORMAT <= format <= FORMAT:
        key = next(iter(differing), "format")
        raise DamagedError(f"{path}: not of this collection and version: {key} differs")
    return format


def _in_fields(query: str, fields: Mapping[str, tuple[str, float]]) -> Weighted:
    """`fields`: of the index, each with its analyzer and weight."""
    counts = {name: Counter(analyzer(name)(query)) for name, _ in fields.values()}
    return {
        (field, term): weight * count
        for field, (name, weight) in fields.items()
        for term, count in counts[name].items()
    }


def _rarest(searcher: tantivy.Searcher, terms: Collection[Term]) -> Sequence[Term]:
    """The terms that the index has, at most MAX_QUERY_TERMS to a field, the rarest kept."""
    most = MAX_QUERY_TERMS * len({field for field, _ in terms})
    frequencies = {term: searcher.doc_freq(*term) for term in terms}
    present = [term for term in terms if frequencies[term] > 0]
    if len(present) <= most:
        return present
    return sorted(present, key=lambda term: (frequencies[term], term))[:most]


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
