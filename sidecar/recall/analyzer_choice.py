"""Chooses the analyzer of a corpus by the script of its first documents."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from sidecar.models.language import detect_language

SAMPLE_TEXTS = 500


def choose_analyzer(texts: Iterable[str]) -> str:
    """ "chinese" if most of the first texts that have letters are Chinese, else "english"."""
    languages = [detect_language(text) for text in itertools.islice(texts, SAMPLE_TEXTS)]
    known = [language for language in languages if language]
    return "chinese" if 2 * known.count("zh") > len(known) else "english"
