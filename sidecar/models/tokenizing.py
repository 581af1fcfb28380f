"""Texts and pairs -> token ids within their budgets, by a folder's `tokenizer.json`.

A budget counts the tokens of a text itself; the special tokens of the template come on top, and the
whole never exceeds the model's own limit. A query is cut at its end; what happens to a long passage
is in `truncation.py`.

A long text is not tokenized to its end: it is read in a prefix that certainly fills what is wanted
of it (and in a suffix, for its tail). Its `token_count` is then what that prefix holds, which is
less than the whole text's but more than the budget; the counts of texts that fit are exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import tokenizers

from sidecar.errors import ModelError
from sidecar.models.base import Pair, TextPair, TokenizedPassage
from sidecar.models.template import pair_template, single_template
from sidecar.models.token_cache import Reading, TokenCache
from sidecar.models.truncation import Span, leaves_out, tail_tokens, to_spans, tokens_needed
from sidecar.types import Truncation

_CHARACTERS_A_TOKEN = 8  # of the first prefix, which is grown fourfold until it holds enough
_FEWEST_CHARACTERS = 2048
_EDGE_TOKENS = 32  # at the cut a word may be torn: a prefix must hold this many tokens more
_EDGE_CHARACTERS = 256  # how far from the cut white space is looked for


class _Budgets(NamedTuple):
    """A query within its budget, its count before, and what is left for a passage."""

    query: Sequence[int]
    query_count: int
    passage: int


class _Part(NamedTuple):
    """A text, or as much of its start or end as was needed, encoded without special tokens."""

    encoding: tokenizers.Encoding
    characters: int
    whole: bool


_Encode = Callable[[Sequence[str]], list[tokenizers.Encoding]]
_Cut = Callable[[str, int], str]


class Tokenizer:
    """The tokenizer of one model. Thread safe.

    `max_tokens` is the longest input of the model, special tokens included. `digest` is that of
    `tokenizer.json`, sha256 in hex.
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        max_tokens: int,
        digest: str = "",
        cache: TokenCache | None = None,
    ) -> None:
        self.pad_id = _pad_id(tokenizer)
        self.max_tokens = max_tokens
        self.digest = digest or hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._cache = cache or TokenCache()
        self.single = single_template(tokenizer)
        self.double = pair_template(tokenizer)

    @classmethod
    def open(cls, path: Path, max_tokens: int, cache: TokenCache | None = None) -> Tokenizer:
        """The tokenizer of a `tokenizer.json`. Raises ModelError."""
        try:
            content = path.read_bytes()
        except OSError:
            raise ModelError(f"{path} is missing: save the model with its fast tokenizer") from None
        try:
            tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path} is not a tokenizer: {error}") from error
        return cls(tokenizer, max_tokens, hashlib.sha256(content).hexdigest(), cache)

    def texts(self, texts: Sequence[str], max_text_tokens: int) -> list[Pair]:
        """Each text on its own, cut at its end to the budget."""
        budget = min(max_text_tokens, self.max_tokens - self.single.special_count)
        return [self.single.text(reading.ids[:budget]) for reading in self._read(texts, budget)]

    def count_tokens(self, texts: Sequence[str], at_most: int) -> list[int]:
        """Tokens of each text without special ones, exact up to `at_most`."""
        return [len(reading.ids) for reading in self._read(texts, at_most)]

    def pairs(
        self, query: str, passages: Sequence[str], truncation: Truncation
    ) -> list[TokenizedPassage]:
        """The query with each passage, as token ids.

        A query leaves its passages at least half of the model's tokens.
        """
        budgets = self._budgets(query, truncation)
        readings = self._read(passages, tokens_needed(budgets.passage, truncation))
        return [
            self._tokenized(budgets, reading, passage, truncation)
            for reading, passage in zip(readings, passages, strict=True)
        ]

    def cut_texts(
        self, query: str, passages: Sequence[str], truncation: Truncation
    ) -> list[TokenizedPassage]:
        """The query with each passage, as texts cut where `pairs` cuts their tokens.

        For a server that tokenizes itself: a text within its budget stays as it is, a cut one ends
        (or begins) with a whole token, and head and tail are joined by a space.
        """
        budgets = self._budgets(query, truncation)
        kept = self._cut_query(query, len(budgets.query), budgets.query_count)
        needed = tokens_needed(budgets.passage, truncation)
        parts = self._parts(passages, needed, _prefix, self._encode_with_offsets)
        return [
            self._cut_tokens(kept, budgets, part, passage, truncation)
            for part, passage in zip(parts, passages, strict=True)
        ]

    def _budgets(self, query: str, truncation: Truncation) -> _Budgets:
        room = self.max_tokens - self.double.special_count
        budget = min(truncation.max_query_tokens, room // 2)
        ids = self._read([query], budget)[0].ids
        kept = ids[:budget]
        return _Budgets(kept, len(ids), min(truncation.max_passage_tokens, room - len(kept)))

    def _tokenized(
        self, budgets: _Budgets, reading: Reading, passage: str, truncation: Truncation
    ) -> TokenizedPassage:
        ids = reading.ids
        tail = tail_tokens(budgets.passage, truncation)
        if not reading.whole and tail:
            ids = [*ids, *self._tail(passage, tail)]
        spans = to_spans(len(ids), budgets.passage, truncation)
        pairs = tuple(self.double.pair(budgets.query, _joined(ids, group)) for group in spans)
        return self._passage(budgets, pairs, len(reading.ids), leaves_out(len(ids), spans))

    def _cut_tokens(
        self,
        query: str,
        budgets: _Budgets,
        part: _Part,
        passage: str,
        truncation: Truncation,
    ) -> TokenizedPassage:
        tokens = list(part.encoding.offsets)
        tail = tail_tokens(budgets.passage, truncation)
        if not part.whole and tail:
            tokens += self._tail_offsets(passage, tail)
        groups = to_spans(len(tokens), budgets.passage, truncation)
        fixed = self.double.special_count + len(budgets.query)
        pairs = []
        for group in groups:
            text = passage
            if len(tokens) > budgets.passage:
                text = " ".join(_text_of(passage, tokens, span) for span in group)
            pairs.append(TextPair(query, text, fixed + sum(end - start for start, end in group)))
        return self._passage(
            budgets, tuple(pairs), len(part.encoding.ids), leaves_out(len(tokens), groups)
        )

    def _passage(
        self,
        budgets: _Budgets,
        pairs: tuple[Pair | TextPair, ...],
        passage_count: int,
        leaves_out_some: bool,
    ) -> TokenizedPassage:
        return TokenizedPassage(
            pairs=pairs,
            token_count=self.double.special_count + budgets.query_count + passage_count,
            truncated=leaves_out_some or budgets.query_count > len(budgets.query),
        )

    def _cut_query(self, query: str, kept: int, count: int) -> str:
        if kept == count:
            return query
        part = self._parts([query], kept, _prefix, self._encode_with_offsets)[0]
        return _text_of(query, part.encoding.offsets, (0, kept))

    def _read(self, texts: Sequence[str], needed: int) -> list[Reading]:
        """All tokens of each text, or more than `needed`; from the cache where it has them."""
        if not self._cache.keeps:
            return self._readings(texts, needed)
        keys = [self._cache.key(self.digest, text) for text in texts]
        kept = [self._cache.get(key, needed + _EDGE_TOKENS) for key in keys]
        absent = [row for row, reading in enumerate(kept) if reading is None]
        made = self._readings([texts[row] for row in absent], needed)
        for row, reading in zip(absent, made, strict=True):
            self._cache.put(keys[row], reading)
        fresh = iter(made)
        return [reading or next(fresh) for reading in kept]

    def _readings(self, texts: Sequence[str], needed: int) -> list[Reading]:
        parts = self._parts(texts, needed, _prefix, self._encode)
        return [Reading(part.encoding.ids, part.whole) for part in parts]

    def _tail(self, text: str, count: int) -> Sequence[int]:
        """The last tokens of a long text."""
        part = self._parts([text], count, _suffix, self._encode)[0]
        ids: Sequence[int] = part.encoding.ids[-count:]
        return ids

    def _tail_offsets(self, text: str, count: int) -> list[Span]:
        """The last tokens of a long text as character spans of it."""
        part = self._parts([text], count, _suffix, self._encode_with_offsets)[0]
        shift = len(text) - part.characters
        return [(start + shift, end + shift) for start, end in part.encoding.offsets[-count:]]

    def _parts(self, texts: Sequence[str], needed: int, cut: _Cut, encode: _Encode) -> list[_Part]:
        """Each text, or a part of it that certainly holds the tokens that are needed."""
        parts: dict[int, _Part] = {}
        rows = list(range(len(texts)))
        characters = max(_FEWEST_CHARACTERS, needed * _CHARACTERS_A_TOKEN)
        while rows:
            cuts = [cut(texts[row], characters) for row in rows]
            for row, text, encoding in zip(rows, cuts, encode(cuts), strict=True):
                parts[row] = _Part(encoding, len(text), len(text) == len(texts[row]))
            enough = needed + _EDGE_TOKENS
            rows = [r for r in rows if not parts[r].whole and len(parts[r].encoding.ids) < enough]
            characters *= 4
        return [parts[row] for row in range(len(texts))]

    def _encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        found: list[tokenizers.Encoding] = self._tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=False
        )
        return found

    def _encode_with_offsets(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        found: list[tokenizers.Encoding] = self._tokenizer.encode_batch(
            list(texts), add_special_tokens=False
        )
        return found


def _joined(ids: Sequence[int], group: Sequence[Span]) -> Sequence[int]:
    """The tokens of one pair's spans, one after the other."""
    if len(group) == 1:
        start, end = group[0]
        return ids[start:end]
    return [token for start, end in group for token in ids[start:end]]


def _text_of(text: str, tokens: Sequence[Span], span: Span) -> str:
    """The characters of some tokens; a character that lies in others too is left to those."""
    start, end = span
    while start < end and start > 0 and tokens[start][0] < tokens[start - 1][1]:
        start += 1
    while start < end < len(tokens) and tokens[end][0] < tokens[end - 1][1]:
        end -= 1
    return text[tokens[start][0] : tokens[end - 1][1]] if start < end else ""


def _prefix(text: str, characters: int) -> str:
    """At most `characters` of the text, ending before white space where there is some near."""
    if len(text) <= characters:
        return text
    edge = max(1, characters - _EDGE_CHARACTERS)
    for end in range(characters, edge, -1):
        if text[end].isspace():
            return text[:end]
    return text[:characters]


def _suffix(text: str, characters: int) -> str:
    """At most `characters` of the text's end, beginning with white space where there is some."""
    if len(text) <= characters:
        return text
    start = len(text) - characters
    for begin in range(start, min(start + _EDGE_CHARACTERS, len(text))):
        if text[begin].isspace():
            return text[begin:]
    return text[start:]


def _pad_id(tokenizer: tokenizers.Tokenizer) -> int:
    """The id that fills a batch; some models derive positions from it, so it must be their own."""
    if tokenizer.padding:
        return int(tokenizer.padding["pad_id"])
    for token in ("[PAD]", "<pad>", "<|endoftext|>"):
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    return 0
