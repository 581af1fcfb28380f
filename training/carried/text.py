"""Sentences, words and passages: how a document is cut for training."""

import re

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])|\n{2,}|\n(?=[-*•])")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9'/.+-]*[A-Za-z0-9]|[A-Za-z0-9]")

STOP_WORDS = frozenset(
    # One text: a word a line would fill a page.
    """a about after all also an and any are as at be been being between both but by can could did
    do does each for from had has have he her here his how i if in into is it its itself may might
    more most must no nor not of off on once one only or other our out over own same she should so
    some such than that the their them then there these they this those through to too under until
    up very was we were what when where which while who whom why will with would you your""".split()  # noqa: SIM905
)


def split_sentences(text: str, shortest_words: int = 4) -> list[str]:
    """Sentences of `text` with at least `shortest_words` words, white space joined."""
    parts = (" ".join(part.split()) for part in _SENTENCE_END.split(text))
    return [part for part in parts if len(part.split()) >= shortest_words]


def content_words(text: str) -> list[str]:
    """Words of `text` in order, without stop words, each once."""
    words = (word for word in _WORD.findall(text) if word.lower() not in STOP_WORDS)
    return list(dict.fromkeys(words))


def join_passage(title: str, text: str) -> str:
    """What a model reads of a document: title, line break, text; empty parts dropped."""
    return "\n".join(part for part in (title.strip(), text.strip()) if part)


def cut_windows(sentences: list[str], most_words: int) -> list[str]:
    """Consecutive sentences joined into windows of at most `most_words` words.

    A sentence longer than that is a window of its own, cut.
    """
    windows: list[list[str]] = []
    for sentence in sentences:
        words = sentence.split()[:most_words]
        if windows and len(windows[-1]) + len(words) <= most_words:
            windows[-1].extend(words)
        else:
            windows.append(words)
    return [" ".join(words) for words in windows]
