"""How many of the nearest lists a search is to read for its depth, found out by searches.

Queries lie less well among documents than documents do, and some much less. So what is searched for
are vectors of the index with noise, and of them more is asked than is wanted of queries: the
nearest among all lists, then among as few as give TARGET_RECALL. Of 78,457 passages of four judged
sets (shop items, web pages, abstracts), encoded by MiniLM, and noise copies up to 250,000 in 5,000
lists, queries of these sets found, in six draws of the vectors that are tried (R@100):

    noise  vectors  target    lists           queries
    1.0         48    .990    216 to  512    .967 to .986
    1.0         48    .997    431 to 1024    .983 to .994
    1.5        128    .990    363 to  431    .980 to .983
    1.5        128    .997    725 to  862    .991 to .993

Between the depths that are tried, and beyond, the number of lists follows a power of the depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

TARGET_RECALL = 0.997
NOISE = 1.5  # of a vector's length
TRIED_DEPTHS = (100, 1000)
TRIED_VECTORS = 128
STEP = 2.0**0.25

Vectors = npt.NDArray[np.float32]
# The rows found for a vector (1, dimensions), by depth and number of lists.
Search = Callable[[Vectors, int, int], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Reach:
    """Lists to be read, by depth: at least one (depth, lists), depths rising."""

    points: tuple[tuple[int, int], ...]

    def lists(self, depth: int) -> int:
        """For a search of this depth; no fewer than for the least depth that was tried."""
        (first_depth, first), *others = self.points
        if depth <= first_depth or not others:
            return first
        last_depth, last = others[-1]
        slope = math.log(last / first) / math.log(last_depth / first_depth)
        return math.ceil(first * math.pow(depth / first_depth, max(0.0, slope)))

    def about(self) -> list[list[int]]:
        """What `of` wants to be told."""
        return [list(point) for point in self.points]

    @classmethod
    def of(cls, about: Any) -> Reach:
        """As it was."""
        return cls(tuple((int(depth), int(lists)) for depth, lists in about))


def reach_of(search: Search, sample: Vectors, list_count: int, count: int) -> Reach:
    """Of an index with so many lists and vectors, some of which are `sample` (n, dimensions)."""
    tried = [vector.reshape(1, -1) for vector in noisy(sample[:TRIED_VECTORS])]
    depths = [depth for depth in TRIED_DEPTHS if depth <= count // 2] or [max(1, count // 2)]
    if not tried:
        return Reach(((1, list_count),))
    points: list[tuple[int, int]] = []
    fewest = 1
    for depth in depths:
        nearest = [search(vector, depth, list_count) for vector in tried]
        fewest = _fewest_lists(search, tried, nearest, fewest, list_count)
        points.append((depth, fewest))
    return Reach(tuple(points))


def noisy(vectors: Vectors) -> Vectors:
    """The same with noise, of length 1 again; always the same noise."""
    noise = np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32)
    noise *= NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
    moved: Vectors = vectors + noise
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    return moved


def _fewest_lists(
    search: Search,
    tried: list[Vectors],
    nearest: list[npt.NDArray[np.int64]],
    fewest: int,
    list_count: int,
) -> int:
    lists = float(fewest)
    while lists < list_count:
        number = math.ceil(lists)
        found = [
            search(vector, len(true), number) for vector, true in zip(tried, nearest, strict=True)
        ]
        if recall(found, nearest) >= TARGET_RECALL:
            return number
        lists *= STEP
    return list_count


def recall(found: list[npt.NDArray[np.int64]], nearest: list[npt.NDArray[np.int64]]) -> float:
    """The mean share of the nearest that was found."""
    shares = [len(np.intersect1d(f, n)) / len(n) for f, n in zip(found, nearest, strict=True)]
    return float(np.mean(shares))
