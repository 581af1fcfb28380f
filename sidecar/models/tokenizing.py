"""Texts and pairs -> token ids within their budgets, by a folder's `tokenizer.json`.

A budget counts the tokens of a text itself; the special tokens of the template come on top, and the
whole never exceeds the model's own limit. Where the template puts special tokens and token types
(BERT: [CLS] query [SEP] passage [SEP], types 0 and 1; RoBERTa: <s> query </s></s> passage </s>) is
read once from the tokenizer's own post-processor.

A long text is not tokenized to its end: it is read in a prefix that certainly fills the budget. Its
`token_count` is then what that prefix holds, which is less than the whole text's but more than the
budget; the counts of texts that fit are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from sidecar.errors import ModelError
from sidecar.models.base import Pair

_CHARACTERS_A_TOKEN = 8  # of the first prefix, which is grown fourfold until it fills the budget
_FEWEST_CHARACTERS = 2048
_EDGE_TOKENS = 32  # at the cut a word may be torn: a prefix must hold this many tokens more
_EDGE_CHARACTERS = 256  # how far back from the cut white space is looked for


@dataclass(frozen=True, slots=True)
class Template:
    """Special tokens around one text (`middle` and `passage_type` unused) or around a pair."""

    before: tuple[int, ...]
    middle: tuple[int, ...]
    after: tuple[int, ...]
    query_types: tuple[int, int, int]  # of `before`, of the text, of `middle`
    passage_types: tuple[int, int]  # of the passage, of `after`

    @property
    def special_count(self) -> int:
        """Special tokens in all."""
        return len(self.before) + len(self.middle) + len(self.after)

    def text(self, ids: Sequence[int], token_count: int) -> Pair:
        """One text between its special tokens."""
        return Pair(
            input_ids=(*self.before, *ids, *self.after),
            token_type_ids=(self.query_types[0],) * (self.special_count + len(ids)),
            token_count=token_count + self.special_count,
            truncated=token_count > len(ids),
        )

    def pair(self, query: Sequence[int], passage: Sequence[int], token_count: int) -> Pair:
        """A query and a passage between their special tokens."""
        lengths = (len(self.before), len(query), len(self.middle), len(passage), len(self.after))
        types = (*self.query_types, *self.passage_types)
        return Pair(
            input_ids=(*self.before, *query, *self.middle, *passage, *self.after),
            token_type_ids=tuple(
                kind for kind, length in zip(types, lengths, strict=True) for _ in range(length)
            ),
            token_count=token_count + self.special_count,
            truncated=token_count > len(query) + len(passage),
        )


class Tokenizer:
    """The tokenizer of one model. Thread safe.

    `max_tokens` is the longest input of the model, special tokens included.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, max_tokens: int) -> None:
        self.pad_id = _pad_id(tokenizer)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._single = _single_template(tokenizer)
        self._double = _pair_template(tokenizer)

    @classmethod
    def open(cls, path: Path, max_tokens: int) -> Tokenizer:
        """The tokenizer of a `tokenizer.json`. Raises ModelError."""
        if not path.is_file():
            raise ModelError(f"{path} is missing: save the model with its fast tokenizer")
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)), max_tokens)
        except ModelError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path} is not a tokenizer: {error}") from error

    def texts(self, texts: Sequence[str], max_text_tokens: int) -> list[Pair]:
        """Each text on its own, cut at its end to the budget."""
        budget = min(max_text_tokens, self._max_tokens - self._single.special_count)
        return [self._single.text(ids[:budget], len(ids)) for ids in self._ids(texts, budget)]

    def pairs(
        self, query: str, passages: Sequence[str], max_query_tokens: int, max_passage_tokens: int
    ) -> list[Pair]:
        """The query with each passage, both cut at their ends to their budgets.

        A query leaves its passages at least half of the model's tokens.
        """
        room = self._max_tokens - self._double.special_count
        query_budget = min(max_query_tokens, room // 2)
        query_ids = self._ids([query], query_budget)[0]
        kept_query = query_ids[:query_budget]
        budget = min(max_passage_tokens, room - len(kept_query))
        return [
            self._double.pair(kept_query, ids[:budget], len(query_ids) + len(ids))
            for ids in self._ids(passages, budget)
        ]

    def _ids(self, texts: Sequence[str], budget: int) -> list[list[int]]:
        """Token ids without special tokens: all of a text, or of a prefix that fills `budget`."""
        characters = max(_FEWEST_CHARACTERS, budget * _CHARACTERS_A_TOKEN)
        found = self._encode([_prefix(text, characters) for text in texts])
        enough = budget + _EDGE_TOKENS
        short = [
            row
            for row, text in enumerate(texts)
            if len(text) > characters and len(found[row]) < enough
        ]
        while short:
            characters *= 4
            grown = self._encode([_prefix(texts[row], characters) for row in short])
            for row, ids in zip(short, grown, strict=True):
                found[row] = ids
            short = [r for r in short if len(texts[r]) > characters and len(found[r]) < enough]
        return found

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def _prefix(text: str, characters: int) -> str:
    """At most `characters` of the text, ending before white space where there is some near."""
    if len(text) <= characters:
        return text
    edge = max(1, characters - _EDGE_CHARACTERS)
    for end in range(characters, edge, -1):
        if text[end].isspace():
            return text[:end]
    return text[:characters]


def _pad_id(tokenizer: tokenizers.Tokenizer) -> int:
    """The id that fills a batch; some models derive positions from it, so it must be their own."""
    if tokenizer.padding:
        return int(tokenizer.padding["pad_id"])
    for token in ("[PAD]", "<pad>", "<|endoftext|>"):
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    return 0


def _single_template(tokenizer: tokenizers.Tokenizer) -> Template:
    plain = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.post_process(tokenizer.encode("a", add_special_tokens=False))
    start = len(whole.ids) and _find(whole.ids, plain.ids)
    kind = whole.type_ids[start] if whole.type_ids else 0
    return Template(
        before=tuple(whole.ids[:start]),
        middle=(),
        after=tuple(whole.ids[start + len(plain.ids) :]),
        query_types=(kind, kind, kind),
        passage_types=(kind, kind),
    )


def _pair_template(tokenizer: tokenizers.Tokenizer) -> Template:
    first = tokenizer.encode("a", add_special_tokens=False)
    second = tokenizer.encode("b", add_special_tokens=False)
    whole = tokenizer.post_process(
        tokenizer.encode("a", add_special_tokens=False),
        tokenizer.encode("b", add_special_tokens=False),
    )
    query = _find(whole.ids, first.ids)
    query_end = query + len(first.ids)
    passage = query_end + _find(whole.ids[query_end:], second.ids)
    passage_end = passage + len(second.ids)
    types = whole.type_ids
    return Template(
        before=tuple(whole.ids[:query]),
        middle=tuple(whole.ids[query_end:passage]),
        after=tuple(whole.ids[passage_end:]),
        query_types=(types[0], types[query], types[query_end] if passage > query_end else 0),
        passage_types=(types[passage], types[-1]),
    )


def _find(ids: Sequence[int], wanted: Sequence[int]) -> int:
    for start in range(len(ids) - len(wanted) + 1):
        if list(ids[start : start + len(wanted)]) == list(wanted):
            return start
    raise ModelError("the tokenizer's template changes the tokens of a text: not supported")
