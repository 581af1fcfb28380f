"""All queries of a run, each once however it is written, with the ids that its files use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sidecar.models.language import detect_language
from training.queries import KnownQuery, normalised, query_id_of, split_of


@dataclass(slots=True)
class _Entry:
    """`spellings`: impressions by how the query was typed."""

    spellings: dict[str, int] = field(default_factory=dict)
    frequency: int = 0
    synthetic: bool = True


class QueryBook:
    """Made up is a query that came from nowhere else."""

    def __init__(self, seed: int, dev_share: float, test_share: float) -> None:
        self._seed, self._dev_share, self._test_share = seed, dev_share, test_share
        self._entries: dict[str, _Entry] = {}

    def add(self, query: str, frequency: int = 0, synthetic: bool = False) -> None:
        """A query as it was typed; `frequency`: impressions."""
        entry = self._entries.setdefault(normalised(query), _Entry())
        entry.spellings[query] = entry.spellings.get(query, 0) + frequency
        entry.frequency += frequency
        entry.synthetic = entry.synthetic and synthetic

    def id_of(self, query: str) -> str:
        """Of one that was added; right only once all were."""
        return query_id_of(query, self._entries[normalised(query)].synthetic)

    def queries(self) -> Iterable[KnownQuery]:
        """In the order in which they came, each as it was typed most often."""
        for entry in self._entries.values():
            text = " ".join(max(entry.spellings, key=lambda each: entry.spellings[each]).split())
            yield KnownQuery(
                query_id_of(text, entry.synthetic),
                text,
                split_of(text, self._seed, self._dev_share, self._test_share),
                entry.frequency,
                detect_language(text),
                entry.synthetic,
            )
