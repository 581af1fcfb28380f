"""Lists of candidates -> what one step reads: token ids, and targets as tensors.

Lists differ in length, so nothing is a matrix: pairs stand one after another, `groups` says whose
they are. A cross-encoder reads one side, the pairs; a bi-encoder two, the queries and the
documents, each of which is read once, in however many lists it stands. Padding comes later, chunk
by chunk.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sidecar.errors import ConfigurationError, InputFileError
from training.fine_tuning.reading import Encoded, PairReader, TextReader
from training.lists import ListCandidate, TrainingList
from training.run_files import PASSAGES_FILE

Side = list[Encoded]
Numbers = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Targets:
    """What is known of the pairs of a batch; lists are numbered from 0 as they stand.

    `groups`, `places` (the pair's document on the second side), `document_ids`: (pairs,) int64;
    `gains`, `grades`, `weights`, `teacher` (nan: none): (pairs,) float32; `query_ids`: (lists,)
    int64. Ids are the same in all processes.
    """

    groups: Tensor
    gains: Tensor
    grades: Tensor
    weights: Tensor
    teacher: Tensor
    document_ids: Tensor
    query_ids: Tensor
    places: Tensor

    def to(self, device: torch.device) -> Targets:
        """On a device."""
        return Targets(*(getattr(self, each.name).to(device) for each in dataclasses.fields(self)))


@dataclass(frozen=True, slots=True)
class ListBatch:
    """Lists of one step. Ids stay on the CPU until their chunk is read."""

    sides: tuple[Side, ...]
    targets: Targets

    def lists(self, first: int, last: int) -> ListBatch:
        """Of a cross-encoder's batch, the lists from `first` up to but without `last`."""
        targets = self.targets
        kept = torch.nonzero((targets.groups >= first) & (targets.groups < last))[:, 0]
        chosen = {
            each.name: getattr(targets, each.name)[kept]
            for each in dataclasses.fields(targets)
            if each.name != "query_ids"
        }
        chosen |= {"groups": chosen["groups"] - first, "query_ids": targets.query_ids[first:last]}
        return ListBatch(([self.sides[0][place] for place in kept.tolist()],), Targets(**chosen))

    def to(self, device: torch.device, non_blocking: bool = False) -> ListBatch:
        """What accelerate calls for every batch."""
        return ListBatch(self.sides, self.targets.to(device))


class Lists(torch.utils.data.Dataset[TrainingList]):
    """Lists to learn from, without what counts for nothing: candidates of weight 0.

    Candidates are shuffled by the seed once, so that no loss can read their order.
    """

    def __init__(self, lists: Sequence[TrainingList], seed: int) -> None:
        draw = random.Random(seed)
        self._lists = [_shuffled(one, draw) for one in lists]

    def __len__(self) -> int:
        return len(self._lists)

    def __getitem__(self, place: int) -> TrainingList:
        return self._lists[place]


def _shuffled(one: TrainingList, draw: random.Random) -> TrainingList:
    kept = [each for each in one.candidates if each.weight > 0]
    draw.shuffle(kept)
    return dataclasses.replace(one, candidates=tuple(kept))


@dataclass(frozen=True, slots=True)
class NumberedPassages:
    """Passages by document id, and numbers of documents and queries. Raises InputFileError where a
    passage is missing."""

    passages: Mapping[str, str]
    documents: Numbers
    queries: Numbers

    @classmethod
    def of(cls, lists: Sequence[TrainingList], passages: Mapping[str, str]) -> NumberedPassages:
        """Of all lists that will be read."""
        wanted = dict.fromkeys(each.doc_id for one in lists for each in one.candidates)
        missing = [doc_id for doc_id in wanted if doc_id not in passages]
        if missing:
            raise InputFileError(
                PASSAGES_FILE, None, f"has no passage of {len(missing)} documents: {missing[0]!r}"
            )
        queries = dict.fromkeys(one.query_id for one in lists)
        return cls(
            {doc_id: passages[doc_id] for doc_id in wanted},
            {doc_id: number for number, doc_id in enumerate(wanted)},
            {query_id: number for number, query_id in enumerate(queries)},
        )


class PairCollator:
    """For cross-encoders: a side of pairs."""

    def __init__(self, reader: PairReader, known: NumberedPassages) -> None:
        self._reader = reader
        self._known = known

    def __call__(self, lists: Sequence[TrainingList]) -> ListBatch:
        """Lists as the dataset gives them."""
        pairs: Side = []
        for one in lists:
            texts = [self._known.passages[each.doc_id] for each in one.candidates]
            pairs += self._reader.read_all(one.query, texts)
        return ListBatch((pairs,), _targets(lists, self._known, list(range(len(pairs)))))


class TextCollator:
    """For bi-encoders: a side of queries and one of documents, each once."""

    def __init__(self, reader: TextReader, known: NumberedPassages) -> None:
        self._reader = reader
        self._known = known

    def __call__(self, lists: Sequence[TrainingList]) -> ListBatch:
        """Lists as the dataset gives them."""
        places: dict[str, int] = {}
        for one in lists:
            for each in one.candidates:
                places.setdefault(each.doc_id, len(places))
        sides = (
            self._reader.queries([one.query for one in lists]),
            self._reader.passages([self._known.passages[doc_id] for doc_id in places]),
        )
        found = [places[each.doc_id] for one in lists for each in one.candidates]
        return ListBatch(sides, _targets(lists, self._known, found))


Collator = PairCollator | TextCollator


def _targets(
    lists: Sequence[TrainingList], known: NumberedPassages, places: Sequence[int]
) -> Targets:
    candidates = [each for one in lists for each in one.candidates]
    sizes = torch.tensor([len(one.candidates) for one in lists])
    return Targets(
        groups=torch.arange(len(lists)).repeat_interleave(sizes),
        gains=torch.tensor([each.gain for each in candidates], dtype=torch.float32),
        grades=torch.tensor([each.grade for each in candidates], dtype=torch.float32),
        weights=torch.tensor([each.weight for each in candidates], dtype=torch.float32),
        teacher=torch.tensor([_teacher(each) for each in candidates], dtype=torch.float32),
        document_ids=torch.tensor([known.documents[each.doc_id] for each in candidates]),
        query_ids=torch.tensor([known.queries[one.query_id] for one in lists]),
        places=torch.tensor(places, dtype=torch.long),
    )


def _teacher(candidate: ListCandidate) -> float:
    return math.nan if candidate.teacher is None else candidate.teacher


def check_lists(lists: Sequence[TrainingList], loss: str) -> None:
    """Raises ConfigurationError where there is nothing to learn from."""
    if not lists:
        raise ConfigurationError(
            f"no list says anything to {loss}: each has candidates that are all alike, or none"
        )
