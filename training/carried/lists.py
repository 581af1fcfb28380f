"""Stage 2b: mined candidates become training lists, with the teacher's scores and the gains.

The teacher is what the two legs know, on a scale of its own: cosine and BM25 (as a share of the
best of the corpus for that query), and a bonus for a relevant candidate.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from training.carried.mine import MinedList
from training.carried.train import TokenizedList

Texts = Mapping[str, str]  # what a model reads, by doc_id

COSINE_SCALE = 10.0
BM25_SCALE = 5.0
OWN_DOCUMENT_BONUS = 2.0
JUDGED_BONUS = 3.0

_HEAD, _FROM_HEAD = 20, 4
_TAIL, _FROM_TAIL = 200, 2
_JUDGED_HEAD = 50


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate of a mined list: who it is, what the legs say, how relevant it is."""

    doc_id: str
    cosine: float
    bm25: float
    relevance: int


def teacher_score(candidate: Candidate, largest_bm25: float, bonus: float) -> float:
    """scale x cosine + scale x BM25 share + bonus if it is relevant."""
    share = candidate.bm25 / largest_bm25 if largest_bm25 > 0 else 0.0
    own = bonus if candidate.relevance > 0 else 0.0
    return COSINE_SCALE * candidate.cosine + BM25_SCALE * share + own


def candidates_of(mined: MinedList) -> list[Candidate]:
    """In fused order."""
    return [
        Candidate(doc_id, cosine, bm25, mined.relevance.get(doc_id, 0))
        for doc_id, cosine, bm25 in zip(mined.doc_ids, mined.cosines, mined.bm25, strict=True)
    ]


def choose_made(candidates: Sequence[Candidate], size: int, rng: random.Random) -> list[Candidate]:
    """For a made query: some of the head, one of its own document, some of the tail.

    What is missing to `size` is drawn from anywhere, so every list of enough candidates is full.
    """
    head, tail = list(candidates[:_HEAD]), list(candidates[_HEAD:_TAIL])
    chosen = rng.sample(head, min(_FROM_HEAD, len(head)))
    own = [one for one in candidates if one.relevance > 0 and one not in chosen]
    if own and not any(one.relevance > 0 for one in chosen):
        chosen.append(rng.choice(own))
    chosen += [one for one in rng.sample(tail, min(_FROM_TAIL, len(tail))) if one not in chosen]
    spare = [one for one in candidates if one not in chosen]
    rng.shuffle(spare)
    return (chosen + spare)[:size]


def choose_judged(
    candidates: Sequence[Candidate], size: int, rng: random.Random
) -> list[Candidate]:
    """For a judged query: one to a third relevant, the rest hard candidates that are not."""
    relevant = [one for one in candidates if one.relevance > 0]
    others = [one for one in candidates[:_JUDGED_HEAD] if one.relevance <= 0]
    if not relevant or not others:
        return []
    chosen = rng.sample(relevant, min(len(relevant), rng.randint(1, max(1, size // 3))))
    # Hard ones more often: the better of two draws, by fused rank.
    while len(chosen) < size and others:
        place = min(rng.randrange(len(others)), rng.randrange(len(others)))
        chosen.append(others.pop(place))
    return chosen if len(chosen) == size else []


def to_training_list(
    mined: MinedList,
    chosen: Sequence[Candidate],
    texts: Texts,
    tokenizer: Tokenizer,
    longest_passage: int,
    bonus: float,
) -> TokenizedList:
    """Tokens, teacher's scores and gains of the chosen candidates; no relevant one, no gains."""
    passages = tokenizer.encode_batch(
        [texts[one.doc_id] for one in chosen], add_special_tokens=False
    )
    gains = tuple(float(max(0, one.relevance)) for one in chosen)
    return TokenizedList(
        tuple(tokenizer.encode(mined.query, add_special_tokens=False).ids),
        tuple(tuple(passage.ids[:longest_passage]) for passage in passages),
        tuple(teacher_score(one, mined.largest_bm25, bonus) for one in chosen),
        gains if any(gains) else (),
    )


def made_lists(
    mined: Iterable[MinedList],
    texts: Texts,
    tokenizer: Tokenizer,
    size: int,
    longest_passage: int,
    rng: random.Random,
) -> list[TokenizedList]:
    """A list for each made query."""
    lists = []
    for one in mined:
        chosen = choose_made(candidates_of(one), size, rng)
        if one.source == "made" and len(chosen) == size:
            lists.append(
                to_training_list(one, chosen, texts, tokenizer, longest_passage, OWN_DOCUMENT_BONUS)
            )
    return lists


def judged_lists(
    mined: Sequence[MinedList],
    texts: Texts,
    tokenizer: Tokenizer,
    size: int,
    longest_passage: int,
    rounds: int,
    rng: random.Random,
) -> list[TokenizedList]:
    """`rounds` lists for each judged query, with other candidates each time."""
    lists = []
    for one in list(mined) * rounds:
        chosen = choose_judged(candidates_of(one), size, rng)
        if chosen:
            lists.append(
                to_training_list(one, chosen, texts, tokenizer, longest_passage, JUDGED_BONUS)
            )
    return lists


def split_judged(
    mined: Iterable[MinedList], held_share: float, seed: int
) -> tuple[list[MinedList], list[MinedList]]:
    """The judged queries (to train on, to choose on), drawn by `seed`."""
    judged = sorted((one for one in mined if one.source == "judged"), key=lambda one: one.query_id)
    random.Random(seed).shuffle(judged)
    held = int(len(judged) * held_share)
    return judged[held:], judged[:held]
