"""The language of a query as far as its script tells: decides whether a model serves it."""

from __future__ import annotations

import unicodedata
from collections import Counter

# The first word of a letter's Unicode name -> the language taken for it (ISO 639-1).
_LANGUAGES = {
    "LATIN": "en",
    "CJK": "zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "KATAKANA-HIRAGANA": "ja",
    "HANGUL": "ko",
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "HEBREW": "he",
    "GREEK": "el",
    "DEVANAGARI": "hi",
    "THAI": "th",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "BENGALI": "bn",
    "TAMIL": "ta",
    "TELUGU": "te",
}
_READ_CHARACTERS = 1024


def detect_language(text: str) -> str:
    """The language by script, "" when there is no letter of a known script.

    Latin script is taken for English: a model's contract that names other languages of that script
    is served through `RankingOptions.language`. Kana make a text Japanese whatever else it holds.
    Elsewhere the script with most letters decides; one CJK character counts as two letters, since
    Chinese queries carry Latin product names ("iPhone 手机壳 透明").
    """
    counts: Counter[str] = Counter()
    for character in text[:_READ_CHARACTERS]:
        language = _language(character)
        if language:
            counts[language] += 2 if language in ("zh", "ja", "ko") else 1
    if not counts:
        return ""
    if counts["ja"]:
        return "ja"
    return counts.most_common(1)[0][0]


def _language(character: str) -> str:
    if character.isascii():
        return "en" if character.isalpha() else ""
    if not character.isalpha():
        return ""
    script = unicodedata.name(character, "").partition(" ")[0]
    return _LANGUAGES.get(script, "")
