"""The share of a reranker's score against the stage before, chosen on dev lists.

For every share of a grid both scores are joined as the sidecar does (sidecar/rerank/combination.py)
over what recall gives, in its order: a reranker's dev lists are that (training/mining). Dev
queries are few, so not the best share is taken but the smallest that keeps `KEPT_SHARE` of the best
gain; and the best of 21 shares on some 40 lists is mostly chance, so it has to be better than the
share that serves by more than that.

Lists of queries that users asked are asked in another way (expected_weight.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sidecar.rerank.combination import combine
from training.exporting.dev_pairs import DevPairs, Floats
from training.exporting.expected_weight import expected_weight
from training.lists import TrainingList

SHARES = tuple(round(step * 0.05, 2) for step in range(21))  # 0 to 1
KEPT_SHARE = 0.9
LEAST_LISTS = 20  # fewer choose by chance
SURE_ERRORS = 2.0  # standard errors by which a gain over the share that serves is no chance
RANK_CONSTANT = 60.0


@dataclass(frozen=True, slots=True)
class WeightChoice:
    """`weight` and why; `measured`: the mean measure by share, empty where nothing was tried."""

    weight: float
    why: str
    measured: Mapping[float, float]


def recall_scores(dev: DevPairs) -> Floats:
    """(pairs,): the fused score of each candidate; in a list that does not know all of them,
    1 / (60 + rank) in its order, which is what one leg gives to reciprocal rank fusion."""
    parts = [_recall_scores(one) for one in dev.lists]
    return np.concatenate(parts) if parts else np.zeros(0)


def _recall_scores(one: TrainingList) -> Floats:
    known = [each.recalled for each in one.candidates if each.recalled is not None]
    if len(known) == len(one.candidates):
        return np.array(known)
    return 1.0 / (RANK_CONSTANT + np.arange(1, len(one.candidates) + 1, dtype=np.float64))


def joined(dev: DevPairs, scores: Floats, earlier: Floats, weight: float) -> Floats:
    """Both combined within each list."""
    parts = [
        combine(own, before, weight)
        for (_, own), (_, before) in zip(dev.by_list(scores), dev.by_list(earlier), strict=True)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def choose_weight(dev: DevPairs, scores: Floats, earlier: Floats, kept: float) -> WeightChoice:
    """`kept` is the weight that stays where dev lists are too few, or no share gains."""
    if len(dev.lists) < LEAST_LISTS:
        why = f"the base's: {len(dev.lists)} dev lists, {LEAST_LISTS} are needed to choose"
        return WeightChoice(kept, why, {})
    if 2 * sum(one.is_of_users for one in dev.lists) > len(dev.lists):
        return _of_users(dev, scores, earlier, kept)
    measured = {share: dev.measured(joined(dev, scores, earlier, share)) for share in SHARES}
    before, best = measured[0.0], max(measured.values())
    if best <= before:
        return WeightChoice(kept, "the base's: no share gains over the stage before", measured)
    least = before + KEPT_SHARE * (best - before)
    weight = min(share for share, value in measured.items() if value >= least)
    gains = [dev.measured_by_list(joined(dev, scores, earlier, share)) for share in (weight, kept)]
    gain, error = _mean_and_error(gains[0] - gains[1])
    if gain <= SURE_ERRORS * error:
        told = f"{weight} gains {gain:+.4f} +- {error:.4f} on {len(dev.lists)} dev lists"
        return WeightChoice(kept, f"the base's: {told}, which is chance", measured)
    why = f"the smallest with {KEPT_SHARE:.0%} of the best gain on {len(dev.lists)} dev lists"
    return WeightChoice(weight, why, measured)


def _of_users(dev: DevPairs, scores: Floats, earlier: Floats, kept: float) -> WeightChoice:
    """By what the log says of the documents that were shown."""
    found = expected_weight(dev, scores, earlier)
    if found is None:
        return WeightChoice(kept, "the base's: neither score tells what users want", {})
    told = f"{found.weight:.2f} +- {found.error:.2f} by what {found.lists} dev queries were shown"
    if abs(found.weight - kept) <= SURE_ERRORS * found.error:
        return WeightChoice(kept, f"the base's: {told}, which may be chance", {})
    return WeightChoice(found.weight, told, {})


def _mean_and_error(values: Floats) -> tuple[float, float]:
    """And the standard error of the mean."""
    return float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
