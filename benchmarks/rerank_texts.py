"""What `rerank.py` sends: the same requests to every engine, other texts in every round."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cpu_contestants import Request

from sidecar.demo.library import read_library
from sidecar.demo.queries import QUERIES
from sidecar.models.tokenizing import Tokenizer
from sidecar.types import Truncation, to_passage

MOST_TOKENS = 512
FEWEST_TOKENS = 16
LONG_PASSAGE_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Work:
    """Requests that come at the same time: `requests` of `passages`, for the name of the row."""

    name: str
    requests: int
    passages: int
    is_mixed: bool = False


WORKS = (
    Work("1x100", 1, 100),
    Work("32x20", 32, 20),
    Work("mixed 16-512 tokens, 8x40", 8, 40, is_mixed=True),
)


def read_texts(folder: Path | None) -> tuple[list[str], list[str]]:
    """Queries and passages of a BEIR-layout folder, else of Python's documentation."""
    if folder is None:
        documents = [to_passage(list(d.fields.values())) for d in read_library()]
        return [query for query, _ in QUERIES], documents
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
    passages = [to_passage([d.get("title", ""), d["text"]]) for d in corpus]
    return [query["text"] for query in queries], passages


class Texts:
    """Draws requests; equal seeds draw equal ones. Nobody has to cut what it draws."""

    def __init__(self, folder: Path | None, tokenizer: Tokenizer, seed: int = 1) -> None:
        self._queries, self._passages = read_texts(folder)
        self._tokenizer = tokenizer
        self._random = random.Random(seed)

    def draw(self, work: Work) -> list[Request]:
        """The requests of one round."""
        return [self._request(work) for _ in range(work.requests)]

    def tokens(self, requests: list[Request]) -> list[int]:
        """Tokens of every pair, special ones included."""
        return [
            read.token_count
            for query, passages in requests
            for read in self._tokenizer.pairs(query, passages, Truncation(64, MOST_TOKENS))
        ]

    def _request(self, work: Work) -> Request:
        query = self._random.choice([q for q in self._queries if len(q) < 200])
        special = self._tokenizer.double.special_count
        taken = special + self._tokenizer.count_tokens([query], MOST_TOKENS)[0]
        passages = []
        for _ in range(work.passages):
            most = LONG_PASSAGE_TOKENS
            if work.is_mixed:
                most = max(1, self._random.randint(FEWEST_TOKENS, MOST_TOKENS) - taken)
            passages.append(self._passage(most, whole=work.is_mixed))
        return query, passages

    def _passage(self, most: int, whole: bool) -> str:
        """A passage of at most `most` tokens; `whole`: nearly as many, several texts if need be."""
        words: list[str] = []
        for text in self._some_texts():
            words += text.split()
            if not whole or len(words) >= most:
                break
        words = words[:most]
        while (count := self._tokenizer.count_tokens([" ".join(words)], MOST_TOKENS)[0]) > most:
            words = words[: min(len(words) - 1, int(len(words) * most / count))] or words[:1]
            if len(words) == 1:
                break
        return " ".join(words)

    def _some_texts(self) -> Iterator[str]:
        while True:
            yield self._random.choice(self._passages)
