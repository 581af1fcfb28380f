"""Where a model wants its special tokens and token types, read from the tokenizer itself.

BERT: [CLS] query [SEP] passage [SEP], types 0 and 1; RoBERTa: <s> query </s></s> passage </s>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers

from sidecar.errors import ModelError
from sidecar.models.base import Pair


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

    def text(self, ids: Sequence[int]) -> Pair:
        """One text between its special tokens."""
        return Pair(
            input_ids=(*self.before, *ids, *self.after),
            token_type_ids=(self.query_types[0],) * (self.special_count + len(ids)),
        )

    def pair(self, query: Sequence[int], passage: Sequence[int]) -> Pair:
        """A query and a passage between their special tokens."""
        before, inner, middle = self.query_types
        types = (before,) * len(self.before) + (inner,) * len(query) + (middle,) * len(self.middle)
        inner, after = self.passage_types
        return Pair(
            input_ids=(*self.before, *query, *self.middle, *passage, *self.after),
            token_type_ids=types + (inner,) * len(passage) + (after,) * len(self.after),
        )


def single_template(tokenizer: tokenizers.Tokenizer) -> Template:
    """The template of one text. Raises ModelError."""
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


def pair_template(tokenizer: tokenizers.Tokenizer) -> Template:
    """The template of a pair. Raises ModelError."""
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
