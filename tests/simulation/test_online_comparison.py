"""Interleaving end to end: simulated users search over gRPC, their clicks come back through the
feedback log, and the better of two rerankers wins."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from fakes import CROSS_ENCODER_CONTRACT, FakeCrossEncoder
from serving import CONFIG, loader, serving
from things import COLLECTION, JUDGED, index_things

from sidecar.config import Config, FeedbackConfig, GuardConfig
from sidecar.models.base import ScorablePair
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.assignment import Shares
from sidecar.pipeline.comparison.comparison import Comparison
from sidecar.pipeline.serving import Lineup
from sidecar.pipeline.variant import CANARY, ModelSet
from sidecar.server import Load, Loaded
from sidecar.simulation.click_models import CLICK_MODELS
from sidecar.simulation.client import Plan, Simulation
from sidecar.simulation.users import Users

SESSIONS = 150


class Contrary(FakeCrossEncoder):
    """Likes best what has the fewest of the query's words."""

    def _overlap(self, pair: ScorablePair) -> float:
        return 1.0 - super()._overlap(pair)


def with_canary(canary: FakeCrossEncoder, comparison: Comparison) -> Load:
    """A sidecar all of whose sessions are interleaved with another second-stage reranker."""

    def load(config: Config, data_dir: Path) -> Loaded:
        loaded = loader()(config, data_dir)
        workshop = Workshop(config, data_dir)
        second = workshop.reranker_of("second_reranker", canary)
        production = loaded.parts.serving.lineup.production
        models = ModelSet(None, production.models.first_reranker, second)
        variant = workshop.variant(CANARY, models)
        lineup = Lineup(production, variant, Shares(interleaved=1.0), comparison)
        loaded.parts.serving.flip(lineup)
        loaded.parts.feedback.on_click = comparison.clicked
        return loaded

    return load


@pytest.mark.parametrize(("is_worse", "winner"), [(True, "production"), (False, "")])
async def test_the_better_reranker_wins_and_equals_do_not(
    tmp_path: Path, is_worse: bool, winner: str
) -> None:
    now = 0.0
    comparison = Comparison(GuardConfig(), clock=lambda: now)
    contract = dataclasses.replace(CROSS_ENCODER_CONTRACT, revision="other", weight=1.0)
    canary = (Contrary if is_worse else FakeCrossEncoder)(contract)
    config = dataclasses.replace(CONFIG, feedback=FeedbackConfig())
    async with serving(tmp_path, config, with_canary(canary, comparison)) as server:
        await index_things(server)
        users = Users(JUDGED, CLICK_MODELS["pbm"], seed=8, run="r")
        report = await Simulation(users, Plan(server.address, COLLECTION, SESSIONS)).run()
    now = GuardConfig().quiet_seconds
    assert report.variants == {"interleaved": report.searches}
    seen = comparison.preference()
    clicking = seen.canary_wins + seen.production_wins + seen.ties
    assert SESSIONS / 2 < clicking <= SESSIONS
    assert seen.winner == winner
    assert ("preferred production's rankings" in comparison.verdict()) is is_worse
    answers = [comparison.statistics(name).answers for name in ("production", "canary")]
    assert answers == [report.searches, report.searches]
