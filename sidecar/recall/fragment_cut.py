"""Where a fragment of a text is cut: at borders of sentences where they are near, else of words.

A fragment begins with the sentence of what it is to show, if that has room, and goes on to the last
end of a sentence that has; where the text ends before that, it begins earlier instead.
"""

from __future__ import annotations

import re
import unicodedata

from sidecar.recall.analyzers import HAN

# The end of a sentence with what closes it, then white space; after the Chinese ones there is none.
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？；]+[”’」』）]*|(?=\n)")
_HAN_CHARACTER = re.compile(f"[{HAN}]")
_JOINERS = "_'’\u200d"

Part = tuple[int, int]  # text[start:end]


def cut(text: str, part: Part, core: Part, most: int) -> Part:
    """A fragment with all of `core`, within `part`, of at most `most` code points.

    `core` has no more than that, and lies within `part`, which is cut at borders itself.
    """
    low, high = part
    first, last = core
    start = _start(text, max(low, first - most + (last - first)), first, low)
    limit = min(high, start + most)
    end = _end(text, last, limit, start + most // 2) if limit < high else high
    if end == high:
        start = _earlier(text, max(low, end - most), start, low)
    return _without_space(text, (start, end), core)


def _start(text: str, floor: int, first: int, low: int) -> int:
    """The begin of the sentence that `first` is in; if that is too far, of a word half as far."""
    starts = _sentence_starts(text, floor, first, low)
    return starts[-1] if starts else _next_border(text, (floor + first + 1) // 2, first)


def _earlier(text: str, floor: int, start: int, low: int) -> int:
    starts = _sentence_starts(text, floor, start, low)
    return starts[0] if starts else _next_border(text, floor, start)


def _end(text: str, last: int, limit: int, worth: int) -> int:
    """The last end of a sentence, if there is one from `worth` on; else of a word."""
    ends = [match.end() for match in _END.finditer(text, last, limit + 1)]
    fitting = [end for end in ends if max(last, worth) <= end <= limit]
    if fitting:
        return fitting[-1]
    return next((at for at in range(limit, last, -1) if is_border(text, at)), max(last, limit))


def _sentence_starts(text: str, floor: int, upto: int, low: int) -> list[int]:
    """Begins of sentences from `floor` to `upto`; `low` is one."""
    starts = [floor] if floor == low else []
    for match in _END.finditer(text, max(low, floor - 1), upto):
        start = match.end()
        while start < upto and text[start].isspace():
            start += 1
        if start >= floor:
            starts.append(start)
    return starts


def _next_border(text: str, floor: int, upto: int) -> int:
    """The first border of a word from `floor` on, at most `upto`."""
    return next((at for at in range(floor, upto) if is_border(text, at)), upto)


def is_border(text: str, at: int) -> bool:
    """Whether a text may be cut before a character: not in a word, except of Han characters, nor
    before what combines with the one before."""
    if not 0 < at < len(text):
        return True
    if unicodedata.category(text[at])[0] == "M":
        return False
    return not (_is_of_word(text[at - 1]) and _is_of_word(text[at]))


def _is_of_word(character: str) -> bool:
    if character in _JOINERS or unicodedata.category(character)[0] == "M":
        return True
    return character.isalnum() and not _HAN_CHARACTER.match(character)


def _without_space(text: str, part: Part, core: Part) -> Part:
    start, end = part
    while start < core[0] and text[start].isspace():
        start += 1
    while end > core[1] and text[end - 1].isspace():
        end -= 1
    return start, end
