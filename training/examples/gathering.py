"""Labelled files and documents of a run, brought together: labels under the run's own ids.

Labelled files -> queries that are left out are refused -> documents: the corpus, those that came
with labelled files, passages in them -> labels on each file's scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training.examples.base import Example
from training.examples.documents import DocumentFile, read_documents
from training.examples.formats import Labelled, no_example
from training.examples.judgments import Label
from training.examples.query_book import QueryBook
from training.examples.refusals import Refusals
from training.examples.scales import Scaled, scaled

WhyNot = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read once, in this order. `corpus` None: the documents that came with files."""

    labelled: tuple[Labelled, ...]
    corpus: Path | None = None

    def document_files(self) -> Iterator[Path]:
        """Each once, the corpus first."""
        beside = (path for one in self.labelled for path in one.documents)
        paths = (*((self.corpus,) if self.corpus else ()), *beside)
        yield from {path.resolve(): path for path in paths}.values()


def accepted(labelled: Labelled, why_not: WhyNot, refusals: Refusals) -> Labelled:
    """Without the examples whose queries are left out. Raises InputFileError if none is left."""
    kept = []
    for one in labelled.examples:
        reason = why_not(one.query)
        if reason:
            refusals.refuse(labelled.path, one.line, reason)
        else:
            kept.append(one)
    if not kept:
        raise no_example(labelled.path, refusals)
    return Labelled(labelled.path, labelled.format, tuple(kept), labelled.documents)


@dataclass(frozen=True, slots=True)
class Written:
    """`added`: documents by file that no file before has; `elsewhere`: ids by file that an earlier
    file has other words for."""

    added: dict[str, int] = field(default_factory=dict)
    elsewhere: dict[Path, set[str]] = field(default_factory=dict)


def write_documents(sources: Sources, file: DocumentFile, refusals: Refusals) -> Written:
    """All documents of the files: the first file that has an id says what its words are."""
    written = Written()
    for path in sources.document_files():
        before = len(file)
        for line, row in read_documents(path, refusals):
            reason = file.add(row["_id"], row["title"], row["text"])
            if reason:
                refusals.refuse(path, line, reason)
                written.elsewhere.setdefault(path.resolve(), set()).add(row["_id"])
        written.added[str(path)] = len(file) - before
    return written


@dataclass(slots=True)
class Gatherer:
    """`elsewhere`: see `Written`; `scales`: what was found of each file's labels."""

    file: DocumentFile
    book: QueryBook
    refusals: Refusals
    elsewhere: dict[Path, set[str]]
    scales: dict[str, str]
    grade_names: tuple[str, ...] = ()
    all_synthetic: bool = False

    def labels(self, labelled: Labelled) -> Iterator[Label]:
        """Of one file; rows with a label that its scale does not have, or another document than
        the run's, are refused. Raises InputFileError if none is left."""
        scale = scaled([one.label for one in labelled.examples], self.grade_names)
        self.scales[str(labelled.path)] = scale.words
        others, count = self._others(labelled), 0
        for place, example in enumerate(labelled.examples):
            reason, doc_id = self._found(example, place, scale, others)
            if reason:
                self.refusals.refuse(labelled.path, example.line, reason)
                continue
            count += 1
            yield Label(
                self.book.id_of(example.query),
                doc_id,
                float(scale.gains[place]),
                int(scale.grades[place]),
                example.synthetic or self.all_synthetic,
                labelled.path,
                example.line,
            )
        if not count:
            raise no_example(labelled.path, self.refusals)

    def _others(self, labelled: Labelled) -> set[str]:
        """Ids by which the file means other documents than the run does."""
        each = [self.elsewhere.get(path.resolve(), set()) for path in labelled.documents]
        return set().union(*each)

    def _found(
        self, example: Example, place: int, scale: Scaled, others: set[str]
    ) -> tuple[str, str]:
        """(why not or "", the document's id)."""
        if np.isnan(scale.gains[place]):
            return f"label {example.label!r} {scale.unknown}", ""
        if example.passage.doc_id in others:
            return f"document {example.passage.doc_id!r} is another one in an earlier corpus", ""
        doc_id, reason = self.file.add_passage(example.passage)
        return reason, doc_id


@dataclass(frozen=True, slots=True)
class Kept:
    """`labels` whose documents are there; how many `pairs` were judged, and of them `dropped`;
    `first`: where the first of these is named, and by which document."""

    labels: list[Label]
    pairs: int
    dropped: int
    first: str = ""


def known(labels: Sequence[Label], file: DocumentFile, refusals: Refusals) -> Kept:
    """The others are refused."""
    kept = [one for one in labels if one.doc_id in file]
    lost = [one for one in labels if one.doc_id not in file]
    for one in lost:
        refusals.refuse(one.path, one.line, f"document {one.doc_id!r} is in no corpus")
    first = next((f"{one.path}, line {one.line}: {one.doc_id!r}" for one in lost), "")
    return Kept(kept, _pairs(labels), _pairs(lost), first)


def _pairs(labels: Sequence[Label]) -> int:
    return len({(one.query_id, one.doc_id) for one in labels})
