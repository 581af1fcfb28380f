"""What labels are worth by clicks that were held out: against the formula, and the truth."""

from __future__ import annotations

import numpy as np
import pytest
from click_logs import STRONG, WEAK, Policy, World, a_world

from training.clicks.log import FloatArray
from training.labels.held_out import Fold, gains
from training.propensity.base import PositionModel, position_model
from training.propensity.cells import count_cells

DISCOUNTS = 1 / np.log2(np.arange(2, 12))


def truly(world: World) -> PositionModel:
    return position_model("known", world.log, world.propensities)


def folds_of(world: World, scores: dict[str, FloatArray], count: int = 4) -> list[Fold]:
    """`scores` (queries, documents): the same in all folds."""
    ids = count_cells(world.log).pair_ids
    of_pairs = {name: each.ravel()[ids] for name, each in scores.items()}
    return [Fold(held, ids, of_pairs) for _, held in world.log.folds(count, 1)]


def dcg(world: World, scores: FloatArray, worth: dict[int, float]) -> float:
    """A query at a time; scores without ties."""
    total, documents = 0.0, world.relevances.shape[1]
    for query in range(len(world.relevances)):
        pairs = [pair for pair in worth if pair // documents == query]
        ranked = sorted(pairs, key=lambda pair: -scores.ravel()[pair])[:10]
        total += sum(worth[pair] * d for pair, d in zip(ranked, DISCOUNTS, strict=False))
    return total


def test_a_gain_by_hand() -> None:
    """With the same scores in all folds, relevances are clicks over examinations of the log."""
    world = a_world("pbm", WEAK, sessions=300, queries=5)
    source = np.random.default_rng(2)
    scores = {name: source.normal(size=world.relevances.shape) for name in ("none", "other")}
    clicks: dict[int, float] = {}
    examined: dict[int, float] = {}
    for row in range(world.log.impressions):
        for rank in range(10):
            pair = int(world.log.pair_ids[row, rank])
            clicks[pair] = clicks.get(pair, 0.0) + float(world.log.clicks[row, rank])
            examined[pair] = examined.get(pair, 0.0) + 1 / (rank + 1)
    worth = {pair: clicks[pair] / examined[pair] for pair in clicks}
    found = gains(folds_of(world, scores), [truly(world)], "none")["other"]
    share = dcg(world, scores["other"], worth) / dcg(world, scores["none"], worth) - 1
    assert found.share == pytest.approx(share)
    assert found.queries == 5


@pytest.mark.parametrize("policy", [WEAK, STRONG])
@pytest.mark.parametrize("clicks", ["pbm", "dcm"])
def test_a_gain_is_the_true_one_within_its_error(policy: Policy, clicks: str) -> None:
    """Scores that were not learnt from the log, over its documents."""
    world = a_world(clicks, policy, sessions=6000, queries=100)
    source = np.random.default_rng(1)
    scores = {
        name: world.relevances + spread * source.normal(size=world.relevances.shape)
        for name, spread in (("none", 0.5), ("better", 0.2), ("worse", 1.0))
    }
    ids = count_cells(world.log).pair_ids
    truth = {int(pair): float(world.relevances.ravel()[pair]) for pair in ids}
    found = gains(folds_of(world, scores), [truly(world)], "none")
    for name in ("better", "worse"):
        share = dcg(world, scores[name], truth) / dcg(world, scores["none"], truth) - 1
        assert abs(found[name].share - share) < 3 * found[name].error + 0.02
        assert found[name].share * share > 0


def test_equal_scores_share_their_ranks() -> None:
    world = a_world("pbm", WEAK, sessions=500, queries=10)
    same = np.zeros(world.relevances.shape)
    found = gains(folds_of(world, {"none": same, "other": same + 1}), [truly(world)], "none")
    assert found["other"].share == pytest.approx(0.0)


def test_the_spread_of_judges_is_part_of_the_error() -> None:
    world = a_world("pbm", WEAK, sessions=1000, queries=30)
    source = np.random.default_rng(1)
    scores = {
        "none": source.normal(size=world.relevances.shape),
        "other": world.relevances.copy(),
    }
    folds, sure = folds_of(world, scores), truly(world)
    other = position_model("known", world.log, np.ones(10))
    unsure = gains(folds, [sure, other], "none")["other"]
    each = [gains(folds, [one], "none")["other"] for one in (sure, other)]
    assert unsure.share == pytest.approx(np.mean([one.share for one in each]))
    assert unsure.error > np.std([one.share for one in each])
