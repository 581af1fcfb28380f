"""Chat messages, as ms-swift takes rerankers' and embeddings' examples.

    {"messages": [{"role": "user", "content": QUERY}],
     "positive_messages": [[{"role": "assistant", "content": PASSAGE}], ...],
     "negative_messages": [...]}

Source: ms-swift, docs/source_en/BestPractices/Reranker.md. Of a conversation the last message
counts; system messages are instructions, which a model's template has here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.examples.base import Passage, Row
from training.examples.fields import has

QUERY_MESSAGES = "messages"
_POSITIVE, _NEGATIVE = "positive_messages", "negative_messages"


@dataclass(frozen=True, slots=True)
class Messages:
    """Labels are 1 and 0."""

    name: str = "messages"
    about: str = '"messages", "positive_messages", "negative_messages", as ms-swift has them'

    def recognises(self, row: Row) -> bool:
        """By the positive."""
        return has(row, (QUERY_MESSAGES,)) and has(row, (_POSITIVE,))

    def read(self, row: Row) -> Iterator[tuple[Passage, float | str]]:
        """Positives first."""
        positives = _conversations(row, _POSITIVE)
        if not positives:
            raise ValueError(f"{_POSITIVE}: none")
        yield from ((Passage(text=text), 1.0) for text in positives)
        yield from ((Passage(text=text), 0.0) for text in _conversations(row, _NEGATIVE))


def last_message(row: Row, name: str = QUERY_MESSAGES) -> str:
    """What was said last in a conversation. Raises ValueError."""
    return _said(row.get(name), name)


def _conversations(row: Row, name: str) -> list[str]:
    given = row.get(name) or []
    if not isinstance(given, list):
        raise ValueError(f"{name}: no list of conversations")
    # A single conversation is not always wrapped in a list of its own.
    each = [[one] if isinstance(one, dict) else one for one in given]
    return [_said(one, name) for one in each]


def _said(conversation: Any, name: str) -> str:
    if isinstance(conversation, list) and conversation and isinstance(conversation[-1], dict):
        content = conversation[-1].get("content")
        if isinstance(content, str) and content.strip():
            return content
    raise ValueError(f'{name}: no {{"role": ..., "content": "..."}} with a text in it')
