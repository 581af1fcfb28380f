"""What makes two queries the same, their ids, which split they are of, and which are drawn.

Ids and splits follow from the normalised text, so that a query has the same wherever it comes from:
a log, a labelled file, another run.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from sidecar.errors import InputFileError
from sidecar.evaluation.beir import read_jsonl
from training.lists import Split

SYNTHETIC = "synthetic-"  # begins the ids of what is made up
T = TypeVar("T")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class KnownQuery:
    """A line of collect's queries.jsonl. `frequency`: impressions in the log, 0: it is not there;
    `language`: as `sidecar.models.language` tells it, "" where it cannot."""

    query_id: str
    query: str
    split: Split
    frequency: int = 0
    language: str = ""
    synthetic: bool = False


def normalised(query: str) -> str:
    """Compatibility forms (NFKC) and case folded, white space joined."""
    folded = unicodedata.normalize("NFKC", query).casefold()
    # Folding can leave what NFKC joins: once more makes it the same however often it is done.
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", folded)).strip()


def query_id_of(query: str, synthetic: bool = False) -> str:
    """ "q-" and 16 hex digits of the normalised text."""
    digest = hashlib.blake2b(normalised(query).encode("utf-8", "replace"), digest_size=8)
    return f"{SYNTHETIC if synthetic else 'q-'}{digest.hexdigest()}"


def split_of(query: str, seed: int, dev_share: float, test_share: float) -> Split:
    """By a hash of the seed and the normalised text."""
    text = f"{seed}\0{normalised(query)}".encode("utf-8", "replace")
    place = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / 2**64
    if place < test_share:
        return Split.TEST
    return Split.DEV if place < test_share + dev_share else Split.TRAIN


def drawn(queries: Sequence[T], most: int, seed: int) -> list[T]:
    """At most `most` of them (0: all), in their order."""
    if not most or len(queries) <= most:
        return list(queries)
    places = random.Random(seed).sample(range(len(queries)), most)
    return [queries[place] for place in sorted(places)]


def write_queries(queries: Iterable[KnownQuery], path: Path) -> None:
    """One line a query."""
    with path.open("w", encoding="utf-8") as out:
        for query in queries:
            out.write(json.dumps(asdict(query), ensure_ascii=False) + "\n")


def read_queries(path: Path) -> Iterator[KnownQuery]:
    """What `write_queries` wrote. Raises InputFileError with the line."""
    for number, row in read_jsonl(path):
        try:
            yield KnownQuery(**{**row, "split": Split(row["split"])})
        except (ValueError, TypeError, KeyError) as error:
            raise InputFileError(str(path), number, f"is no query: {error}") from error
