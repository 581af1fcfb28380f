"""Documents and queries from a template, and how relevant one is to the other.

A query is made of a document: some of its slots, and now and then a synonym for one of them. A
document is worth 0 to it unless its key slots are the query's, 1 if they are, 2 if other slots that
the query names are the same as well, 3 if all are.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence

from sidecar.errors import InvalidFieldError
from training.synthetic.base import MadeQuery, Row, made_id, made_prefix
from training.synthetic.templates import Template, slots_in

SYNONYM_SHARE = 0.3  # of queries with a word that has one
DOCUMENTS_PER_QUERY = 3
LEAST_DOCUMENTS = 40
MOST_DOCUMENTS = 20_000
NEGATIVES = 4  # judged 0 with each query, as far as there are some
MOST_RELEVANT = 10  # of a grade, judged with each query
Filled = Mapping[str, str]


def from_template(
    template: Template, samples: int, seed: int, split: str = "train"
) -> tuple[list[Row], list[MadeQuery]]:
    """(documents, `samples` queries). Documents are the seed's: those of fewer samples are the
    first of those of more. Queries are the split's, too. Raises InvalidFieldError for fewer than
    one sample."""
    if samples < 1:
        raise InvalidFieldError("--samples", "give 1 or more")
    filled = _documents(template, samples, random.Random(f"{seed}/documents"))
    rows = [_row(template, number, slots) for number, slots in enumerate(filled)]
    by_key: dict[tuple[str, ...], list[int]] = {}
    for number, slots in enumerate(filled):
        by_key.setdefault(_key(template, slots), []).append(number)
    source = random.Random(f"{seed}/{split}")
    queries = [
        _query(template, filled, by_key, source, f"{made_prefix(split)}{number:06d}")
        for number in range(samples)
    ]
    return rows, queries


def with_synonym(
    text: str, synonyms: Mapping[str, Sequence[str]], source: random.Random, share: float
) -> str:
    """The text with one of its words, or runs of words, replaced, in `share` of the cases."""
    padded = f" {text} "
    able = [words for words in synonyms if f" {words} " in padded]
    if not able or source.random() >= share:
        return text
    words = source.choice(able)
    return padded.replace(f" {words} ", f" {source.choice(list(synonyms[words]))} ", 1).strip()


def _documents(template: Template, samples: int, source: random.Random) -> list[Filled]:
    """Different fillings, drawn."""
    names = list(template.slots)
    possible = math.prod(len(values) for values in template.slots.values())
    wanted = min(max(DOCUMENTS_PER_QUERY * samples, LEAST_DOCUMENTS), MOST_DOCUMENTS, possible)
    if possible <= 2 * MOST_DOCUMENTS:
        every = [*itertools.product(*(template.slots[name] for name in names))]
        source.shuffle(every)
        chosen = every[:wanted]
    else:
        drawn: dict[tuple[str, ...], None] = {}
        while len(drawn) < wanted:
            drawn[tuple(source.choice(template.slots[name]) for name in names)] = None
        chosen = list(drawn)
    return [dict(zip(names, values, strict=True)) for values in chosen]


def _row(template: Template, number: int, slots: Filled) -> Row:
    title, text = template.title.format(**slots), template.text.format(**slots)
    return {"_id": made_id(number), "title": title, "text": text[:1].upper() + text[1:]}


def _key(template: Template, slots: Filled) -> tuple[str, ...]:
    return tuple(slots[name] for name in template.key)


def _query(
    template: Template,
    filled: Sequence[Filled],
    by_key: Mapping[tuple[str, ...], Sequence[int]],
    source: random.Random,
    query_id: str,
) -> MadeQuery:
    wanted = source.choice(filled)
    pattern = source.choice(template.queries)
    text = with_synonym(pattern.format(**wanted), template.synonyms, source, SYNONYM_SHARE)
    others = [name for name in slots_in(pattern) if name not in template.key]
    alike = by_key[_key(template, wanted)]
    grades = {number: _grade(filled[number], wanted, others) for number in alike}
    judged = [
        number
        for grade in (3, 2, 1)
        for number in [each for each in alike if grades[each] == grade][:MOST_RELEVANT]
    ]
    relevances = {made_id(number): grades[number] for number in judged}
    drawn = source.sample(range(len(filled)), min(len(filled), 10 * NEGATIVES))
    unlike = [number for number in drawn if number not in grades][:NEGATIVES]
    relevances |= {made_id(number): 0 for number in unlike}
    return MadeQuery(query_id, text.lower(), relevances)


def _grade(slots: Filled, wanted: Filled, others: Sequence[str]) -> int:
    """Of a document whose key slots are the query's."""
    same = sum(slots[name] == wanted[name] for name in others)
    if same == len(others):
        return 3
    return 2 if same else 1
