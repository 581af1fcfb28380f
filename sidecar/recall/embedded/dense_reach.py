"""How many of the nearest lists a search is to read for its depth.

Some vectors are searched for in all lists. Where the lists of what is found stand among all,
nearest first, tells how many have to be read for which recall. What was searched for before says
that best (`dense_tuning.py`): of it TARGET_RECALL is asked.

Until there is enough of that, vectors of the index stand for it. Queries lie less well among
documents than documents do, and some much less, so these are moved by noise, and more is asked of
them. Of 78,457 passages of four judged sets (shop items, web pages, abstracts), encoded by MiniLM,
and noise copies up to 250,000 in 5,000 lists, queries of these sets found, in six draws (R@100):

    noise  vectors  target    lists           queries
    1.0         48    .990    216 to  512    .967 to .986
    1.0         48    .997    431 to 1024    .983 to .994
    1.5        128    .990    363 to  431    .980 to .983
    1.5        128    .997    725 to  862    .991 to .993

Between the depths that are tried, and beyond, the number of lists follows a power of the depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

TARGET_RECALL = 0.995  # .99 of others like them
NOISE = 1.5  # of a vector's length
TARGET_RECALL_OF_NOISE = 0.997
TRIED_DEPTHS = (100, 1000)
TRIED_VECTORS = 128

Vectors = npt.NDArray[np.float32]
# (vectors, depth): of each of the nearest, best first, the place of its list, from 0, among all
# lists, nearest first.
Places = npt.NDArray[np.int64]


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


def reach_of(places: Places, list_count: int, target: float) -> Reach:
    """The fewest lists that hold a share `target` of the nearest, by depth."""
    depth = places.shape[1] if places.size else 0
    points: list[tuple[int, int]] = []
    for tried in [each for each in TRIED_DEPTHS if each <= depth] or [depth]:
        sorted_places = np.sort(places[:, :tried], axis=None)
        if not len(sorted_places):
            return Reach(((1, list_count),))
        last = int(sorted_places[math.ceil(target * len(sorted_places)) - 1])
        points.append((tried, max(last + 1, *(lists for _, lists in points), 1)))
    return Reach(tuple(points))


def noisy(vectors: Vectors) -> Vectors:
    """The same with noise, of length 1 again; always the same noise."""
    noise = np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32)
    noise *= NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
    moved: Vectors = vectors + noise
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    return moved
