"""What users did with what they were shown, as arrays: one row an impression, one column a rank.

Queries, documents and sessions are numbers, so that a log of millions of impressions is counted
without a loop. `files.py` makes one of the sidecar's Parquet files, `json_lines.py` of JSON lines.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

UNSHOWN = -1  # document of a rank that the impression does not have
NO_RATING = -1


@dataclass(frozen=True, slots=True, eq=False)
class ClickLog:
    """Impressions (rows) by shown rank (columns; column 0 is rank 1). Immutable by agreement.

    `click_log` fills in what a log does not have. Ranks that are numbers count from 1, 0: none.
    """

    queries: IntArray  # (impressions,) places in query_names
    documents: IntArray  # (impressions, ranks) places in document_names; UNSHOWN after the last
    clicks: BoolArray  # (impressions, ranks) clicked, or what only follows a click
    sessions: IntArray  # (impressions,)
    times: FloatArray  # (impressions,) seconds since the epoch
    weights: FloatArray  # (impressions,) how often each counts
    swapped_ranks: IntArray  # (impressions,) exploration swapped this rank and the next
    swap_probabilities: FloatArray  # (impressions,) with which each pair of neighbours is swapped
    viewed_ranks: IntArray  # (impressions,) the last rank that was on the screen, 0: not known
    last_clicked_ranks: IntArray  # (impressions,) the rank that was clicked last in time
    dwell_seconds: FloatArray  # (impressions, ranks) the longest stay, NaN: not known
    carts: BoolArray  # (impressions, ranks)
    orders: BoolArray  # (impressions, ranks)
    skips: BoolArray  # (impressions, ranks) passed over, as the user said
    ratings: IntArray  # (impressions, ranks) 0 to 4, NO_RATING: none
    query_names: tuple[str, ...]
    document_names: tuple[str, ...]

    @property
    def impressions(self) -> int:
        """Rows."""
        return len(self.queries)

    @property
    def ranks(self) -> int:
        """Columns: the length of the longest ranking."""
        return int(self.documents.shape[1])

    @property
    def shown(self) -> BoolArray:
        """(impressions, ranks): whether there is a document."""
        shown: BoolArray = self.documents != UNSHOWN
        return shown

    @property
    def pair_ids(self) -> IntArray:
        """(impressions, ranks): a number for each (query, document), UNSHOWN where there is none.

        The same in every part of a log.
        """
        ids = self.queries[:, None] * len(self.document_names) + self.documents
        return np.where(self.shown, ids, UNSHOWN)

    def select(self, chosen: NDArray[Any]) -> ClickLog:
        """The impressions of a mask or of a list of rows, which may repeat."""
        return dataclasses.replace(
            self, **{name: getattr(self, name)[chosen] for name in _ROW_COLUMNS}
        )

    def weighted(self, factors: FloatArray) -> ClickLog:
        """Every impression counted `factors` (impressions,) times as often."""
        return dataclasses.replace(self, weights=self.weights * factors)

    def split(self, share: float, seed: int) -> tuple[ClickLog, ClickLog]:
        """(the rest, about `share` of the sessions, drawn by `seed`)."""
        number_of = np.unique(self.sessions, return_inverse=True)[1]
        drawn = np.random.default_rng(seed).random(_count(number_of)) < share
        held = drawn[number_of]
        return self.select(~held), self.select(held)

    def folds(self, count: int, seed: int) -> list[tuple[ClickLog, ClickLog]]:
        """(the rest, a part) for each of `count` parts of the sessions, drawn by `seed`."""
        number_of = np.unique(self.sessions, return_inverse=True)[1]
        drawn = np.random.default_rng(seed).integers(count, size=_count(number_of))[number_of]
        return [(self.select(drawn != part), self.select(drawn == part)) for part in range(count)]

    def split_by_time(self, share: float) -> tuple[ClickLog, ClickLog]:
        """(the earlier, the last `share` of the sessions by when they began)."""
        number_of = np.unique(self.sessions, return_inverse=True)[1]
        began = np.full(_count(number_of), np.inf)
        np.minimum.at(began, number_of, self.times)
        order = np.argsort(began, kind="stable")
        late = np.zeros(len(began), dtype=bool)
        late[order[len(order) - round(share * len(order)) :]] = True
        held = late[number_of]
        return self.select(~held), self.select(held)

    def resampled(self, source: np.random.Generator) -> ClickLog:
        """Sessions drawn with replacement, as many as there are, by their weights (a bootstrap)."""
        number_of = np.unique(self.sessions, return_inverse=True)[1]
        count = _count(number_of)
        drawn = np.bincount(source.integers(count, size=count), minlength=count)
        times = drawn[number_of].astype(np.float64)
        return self.select(times > 0).weighted(times[times > 0])

    def unswapped(self) -> IntArray:
        """(impressions, ranks): the documents as they were ranked before exploration."""
        documents = self.documents.copy()
        rows = np.flatnonzero(self.swapped_ranks > 0)
        upper = self.swapped_ranks[rows] - 1
        documents[rows, upper] = self.documents[rows, upper + 1]
        documents[rows, upper + 1] = self.documents[rows, upper]
        return documents


def click_log(
    queries: NDArray[Any],
    documents: NDArray[Any],
    *,
    query_names: tuple[str, ...] | None = None,
    document_names: tuple[str, ...] | None = None,
    **columns: NDArray[Any],
) -> ClickLog:
    """A log of what is given; the rest is unknown, and each impression is a session of its own.

    Raises ValueError for shapes that do not fit and clicks on ranks that were not shown.
    """
    shape = documents.shape
    unknown = columns.keys() - set(_ROW_COLUMNS)
    if unknown:
        raise ValueError(f"no columns of a click log: {', '.join(sorted(unknown))}")
    made = _defaults(shape) | {"queries": queries, "documents": documents}
    kinds = {name: default.dtype for name, default in _defaults((0, 0)).items()}
    arrays = {n: np.asarray(v, kinds.get(n, np.int64)) for n, v in (made | columns).items()}
    if "last_clicked_ranks" not in columns:
        arrays["last_clicked_ranks"] = lowest_rank(arrays["clicks"])
    _check(arrays, shape)
    return ClickLog(
        query_names=query_names or _numbers(arrays["queries"]),
        document_names=document_names or _numbers(arrays["documents"]),
        **arrays,
    )


def lowest_rank(marked: BoolArray) -> IntArray:
    """(impressions, ranks) -> (impressions,): the last marked rank, from 1; 0 if there is none."""
    ranks = np.arange(1, marked.shape[1] + 1)
    lowest: IntArray = np.where(marked, ranks, 0).max(axis=1, initial=0)
    return lowest


def _defaults(shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    rows = shape[0]
    return {
        "clicks": np.zeros(shape, dtype=bool),
        "sessions": np.arange(rows),
        "times": np.zeros(rows),
        "weights": np.ones(rows),
        "swapped_ranks": np.zeros(rows, dtype=np.int64),
        "swap_probabilities": np.zeros(rows),
        "viewed_ranks": np.zeros(rows, dtype=np.int64),
        "last_clicked_ranks": np.zeros(rows, dtype=np.int64),
        "dwell_seconds": np.full(shape, np.nan),
        "carts": np.zeros(shape, dtype=bool),
        "orders": np.zeros(shape, dtype=bool),
        "skips": np.zeros(shape, dtype=bool),
        "ratings": np.full(shape, NO_RATING, dtype=np.int64),
    }


def _check(arrays: dict[str, NDArray[Any]], shape: tuple[int, ...]) -> None:
    by_rank = {"documents", "clicks", "dwell_seconds", "carts", "orders", "skips", "ratings"}
    for name, array in arrays.items():
        wanted = shape if name in by_rank else shape[:1]
        if array.shape != wanted:
            raise ValueError(f"{name} has the shape {array.shape}, not {wanted}")
    if (arrays["clicks"] & (arrays["documents"] == UNSHOWN)).any():
        raise ValueError("clicks: on a rank at which no document was shown")


def _count(numbers: IntArray) -> int:
    return int(numbers.max(initial=-1)) + 1


def _numbers(codes: IntArray) -> tuple[str, ...]:
    return tuple(map(str, range(_count(codes))))


_ROW_COLUMNS = tuple(
    field.name
    for field in dataclasses.fields(ClickLog)
    if field.name not in {"query_names", "document_names"}
)
