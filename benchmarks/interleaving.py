"""How many sessions it takes to tell a better reranker from a worse one, and what the guard does.

    python benchmarks/interleaving.py SET [--seeds N] [--first-seed N] [--sessions N]
        [--noises X ...] [--json]

No model: a reranker orders the judged documents of a query of SET by their grade plus normal noise,
drawn anew for each ranking; the larger the noise, the worse it is, and two of the same noise are
equals. Both serve behind `Serving`, all sessions interleaved; simulated users click, and each click
is credited to a team as the feedback log does. After every session the preference is looked at:
`decided` is the share of the seeds in which its 95 % interval ever left a half within --sessions,
`sessions` the median number of sessions until then, with its quartiles, `wrong` the share of the
seeds in which the winner was the worse one, or any between equals.

The guard is looked at every 100 requests of which one in ten is the canary's; `taken` is the share
of the seeds in which the canary was taken away within 50,000 requests, `answers` the median number
of its answers until then.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import random
import statistics
from collections.abc import AsyncGenerator, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sidecar.config import GuardConfig
from sidecar.evaluation.beir import JudgedSet, read_judged_set
from sidecar.evaluation.measures import ndcg
from sidecar.feedback_types import Action
from sidecar.models.machine import read_machine
from sidecar.pipeline.assignment import Shares
from sidecar.pipeline.comparison.comparison import Comparison
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.serving import Lineup, Serving
from sidecar.pipeline.streams import last_ranking
from sidecar.pipeline.variant import CANARY, PRODUCTION, ModelSet, Variant
from sidecar.simulation.click_models import CLICK_MODELS
from sidecar.simulation.users import Users
from sidecar.types import Hit, Ranking, RankingOptions, RerankQuery, Stage, Visitor

TOP = 10
CREDITED = (Action.CLICK, Action.CART_ADDITION, Action.ORDER)
PRODUCTION_NOISE = 1.0
CANARY_NOISES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0)
GUARD_REQUESTS = 50_000
LOOK_REQUESTS = 100
CANARY_SHARE = 0.1
# Of a canary: the share of its answers that fail, and the factor of its times.
GUARD_CASES = {
    "as production": (0.01, 1.0),
    "3 % fail": (0.03, 1.0),
    "5 % fail": (0.05, 1.0),
    "10 % fail": (0.10, 1.0),
    "all fail": (1.0, 1.0),
    "1.4 times slower": (0.01, 1.4),
    "2 times slower": (0.01, 2.0),
    "4 times slower": (0.01, 4.0),
}


class NoisyPipeline:
    """Orders the judged documents of a query (its id is the text) by grade plus noise."""

    def __init__(self, judged: JudgedSet, noise: float, source: random.Random) -> None:
        self._judged, self._noise, self._source = judged, noise, source

    def order(self, query_id: str) -> list[str]:
        """Document ids, best first."""
        grades = self._judged.qrels[query_id]
        noisy = {one: grade + self._source.gauss(0, self._noise) for one, grade in grades.items()}
        return sorted(noisy, key=noisy.__getitem__, reverse=True)

    async def run(self, query: RerankQuery, _: Deadline) -> AsyncGenerator[Ranking]:
        """One ranking, final."""
        ids = self.order(query.text)[: 2 * TOP]
        hits = [Hit(one, rank, Stage.SECOND_RERANK, None) for rank, one in enumerate(ids, 1)]
        yield Ranking(1, Stage.SECOND_RERANK, True, False, tuple(hits), ())


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path, metavar="SET")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--noises", type=float, nargs="+", default=CANARY_NOISES)
    parser.add_argument("--sessions", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    judged = read_judged_set(arguments.set, arguments.split)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    report = {
        "machine": read_machine().name,
        "versions": {"search-sidecar": version("search-sidecar")},
        "set": arguments.set.name,
        "queries": len(judged.queries),
        "preference": list(
            preference_rows(judged, seeds, arguments.sessions, tuple(arguments.noises))
        ),
        "guard": [guard_row(name, seeds) for name in GUARD_CASES],
    }
    print(json.dumps(report) if arguments.json else "\n".join(lines(report)))


def preference_rows(
    judged: JudgedSet, seeds: range, sessions: int, noises: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    """A row for each click model and canary."""
    for clicks in sorted(CLICK_MODELS):
        for noise in noises:
            outcomes = [
                asyncio.run(until_decided(judged, clicks, noise, seed, sessions)) for seed in seeds
            ]
            better = CANARY if noise < PRODUCTION_NOISE else PRODUCTION
            if noise == PRODUCTION_NOISE:
                better = ""
            gain = mean_ndcg(judged, noise) - mean_ndcg(judged, PRODUCTION_NOISE)
            yield to_row(clicks, noise, gain, better, outcomes)


async def until_decided(
    judged: JudgedSet, clicks: str, noise: float, seed: int, sessions: int
) -> tuple[str, int]:
    """The winner and the number of sessions until it was one; ("", sessions) if there is none."""
    now = 0.0
    comparison = Comparison(GuardConfig(), clock=lambda: now)
    serving = interleaving(judged, noise, seed)
    users = Users(judged, CLICK_MODELS[clicks], seed, "run")
    for number in range(sessions):
        session = users.session(number)
        for turn, query_id in enumerate(session.query_ids):
            options = RankingOptions(top_k=TOP, visitor=Visitor(session.session_id))
            query = RerankQuery(query_id, (), options)
            ranking = await last_ranking(serving.rerank(query, Deadline.after(60.0)))
            teams = {hit.doc_id: t for hit, t in zip(ranking.hits, ranking.teams, strict=True)}
            shown = [hit.doc_id for hit in ranking.hits[:TOP]]
            for act in users.acts(session, turn, shown):
                if act.action in CREDITED:
                    comparison.clicked(session.session_id, "", teams[act.doc_id])
        now += GuardConfig().quiet_seconds
        winner = comparison.preference().winner
        if winner:
            return winner, number + 1
    return "", sessions


def interleaving(judged: JudgedSet, noise: float, seed: int) -> Serving:
    """Production and a canary, interleaved for all sessions."""
    noises = {PRODUCTION: PRODUCTION_NOISE, CANARY: noise}
    variants = []
    for name, size in noises.items():
        pipeline: Any = NoisyPipeline(judged, size, random.Random(f"{seed} {name}"))
        variants.append(Variant(name, ModelSet(), pipeline, pipeline))
    serving = Serving(variants[0])
    serving._random.seed(seed)
    serving.flip(Lineup(variants[0], variants[1], Shares(interleaved=1.0)))
    return serving


def mean_ndcg(judged: JudgedSet, noise: float, draws: int = 20) -> float:
    """nDCG@10 over the queries and draws of the noise."""
    pipeline = NoisyPipeline(judged, noise, random.Random(0))
    return statistics.fmean(
        ndcg(pipeline.order(query_id), grades, TOP)
        for query_id, grades in judged.qrels.items()
        for _ in range(draws)
    )


def to_row(
    clicks: str, noise: float, gain: float, better: str, outcomes: Sequence[tuple[str, int]]
) -> dict[str, Any]:
    """One row of the first table."""
    decided = sorted(count for winner, count in outcomes if winner)
    quartiles = (
        statistics.quantiles(decided, n=4, method="inclusive") if len(decided) > 1 else 3 * decided
    )
    wrong = sum(bool(winner) and winner != better for winner, _ in outcomes)
    return {
        "clicks": clicks,
        "noise": noise,
        "ndcg_gain": round(gain, 4),
        "seeds": len(outcomes),
        "decided": len(decided) / len(outcomes),
        "sessions": [round(count) for count in quartiles],
        "wrong": wrong / len(outcomes),
    }


def guard_row(name: str, seeds: range) -> dict[str, Any]:
    """One row of the second table."""
    failures, slowness = GUARD_CASES[name]
    outcomes = [until_taken(failures, slowness, seed) for seed in seeds]
    taken = [answers for answers in outcomes if answers is not None]
    return {
        "canary": name,
        "seeds": len(seeds),
        "taken": len(taken) / len(seeds),
        "answers": round(statistics.median(taken)) if taken else None,
    }


def until_taken(failures: float, slowness: float, seed: int) -> int | None:
    """The canary's answers until the guard wants it away; None if it never does. Times are
    log-normal around 50 ms, and 1 % of production's answers fail."""
    source = random.Random(seed)
    comparison = Comparison(dataclasses.replace(GuardConfig(), interleaving=False))
    for number in range(1, GUARD_REQUESTS + 1):
        is_canary = source.random() < CANARY_SHARE
        seconds = source.lognormvariate(-3.0, 0.5) * (slowness if is_canary else 1.0)
        failed = source.random() < (failures if is_canary else 0.01)
        comparison.answered(CANARY if is_canary else PRODUCTION, seconds, failed)
        if number % LOOK_REQUESTS == 0 and comparison.verdict():
            return comparison.statistics(CANARY).answers
    return None


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The report as text."""
    yield report["machine"]
    yield ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    yield (
        f"{report['queries']} queries of {report['set']}; production's noise {PRODUCTION_NOISE:g}, "
        f"top {TOP}"
    )
    yield ""
    heads = ("noise", "nDCG gain", "seeds", "decided", "sessions", "quartiles", "wrong")
    yield f"{'clicks':<8}" + "".join(f"{head:>12}" for head in heads)
    for row in report["preference"]:
        low, middle, high = row["sessions"] or ("-", "-", "-")
        yield (
            f"{row['clicks']:<8}{row['noise']:>12g}{row['ndcg_gain']:>+12.4f}{row['seeds']:>12}"
            f"{row['decided']:>12.1%}{middle:>12}{f'{low}-{high}':>12}{row['wrong']:>12.1%}"
        )
    yield ""
    yield f"{'canary':<18}{'seeds':>7}{'taken':>9}{'answers':>9}"
    for row in report["guard"]:
        answers = "-" if row["answers"] is None else row["answers"]
        yield f"{row['canary']:<18}{row['seeds']:>7}{row['taken']:>9.0%}{answers:>9}"


if __name__ == "__main__":
    main()
