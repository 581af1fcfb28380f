"""Runs every system over the queries: end to end, and each model alone over the same candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import ModelError
from sidecar.evaluation.beir import JudgedSet
from training.evaluation.comparing import FUSED
from training.evaluation.lineup import BESIDE, CANDIDATE, PRODUCTION, ZERO_SHOT, Lineup
from training.evaluation.opened_models import Tell
from training.evaluation.queries import QuerySet
from training.evaluation.system_run import Rankings, Scores, SystemRun
from training.evaluation.systems import Systems, read_passages_of
from training.measures import to_ranking


@dataclass(frozen=True, slots=True)
class Places:
    """`corpus`: the folder of corpus.jsonl; `indexes` are kept for other stages, `kept` rankings
    until this one is done."""

    corpus: Path
    indexes: Path
    kept: Path


@dataclass(frozen=True, slots=True)
class Measured:
    """`ranked`, `alone`: by system; `scores`: of the candidate's model; `folders`: data folders of
    production and candidate, with the corpus indexed; `notes`: what did not run."""

    ranked: Mapping[str, SystemRun]
    alone: Mapping[str, Rankings]
    scores: Scores
    folders: Mapping[str, Path]
    notes: tuple[str, ...]


def run_systems(
    named: Lineup, queries: QuerySet, asked: JudgedSet, depth: int, places: Places, tell: Tell
) -> Measured:
    """`asked`: what production and the candidate rank, `queries` and more; `depth`: candidates that
    each model scores alone. Raises ModelError; a zero-shot that cannot be opened is a note."""
    notes, ranked = list(named.notes), {}
    with Systems(named.config, places.corpus, places.indexes, places.kept, tell) as systems:
        for name, models in named.systems.items():
            wanted = asked if name in (PRODUCTION, CANDIDATE) else queries.judged()
            try:
                ranked[name] = systems.search(name, models, named.role, wanted)
            except ModelError as error:
                if name != ZERO_SHOT:
                    raise
                notes.append(f"Zero-shot could not be measured: {error.message}")
        scores = _alone(named, queries, ranked, systems, depth, places.corpus)
        folders = {
            name: systems.index_folder(named.systems[name].bi_encoder)
            for name in (PRODUCTION, CANDIDATE)
        }
    notes += [f"{name}: {each}." for name, one in ranked.items() for each in one.missed]
    of_candidate = {
        query_id: scores[CANDIDATE].get(query_id, {}) | ranked[CANDIDATE].scores[query_id]
        for query_id in queries.queries
    }
    alone = {
        name: {q: to_ranking(one) for q, one in found.items()} for name, found in scores.items()
    }
    return Measured(ranked, alone, of_candidate, folders, tuple(notes))


def _alone(
    named: Lineup,
    queries: QuerySet,
    ranked: Mapping[str, SystemRun],
    systems: Systems,
    depth: int,
    corpus: Path,
) -> dict[str, Scores]:
    """What each system's model makes of the candidates that production recalls, and of no others;
    no relevant document is put among them."""
    recalled = ranked[PRODUCTION].rankings[FUSED]
    candidates = {key: recalled[key][:depth] for key in queries.queries}
    passages = read_passages_of(corpus, {each for found in candidates.values() for each in found})
    texts = queries.texts
    models = {name: named.systems[name].of(named.role) for name in ranked if name != BESIDE}
    return {
        name: systems.score(name, named.role, model, texts, candidates, passages)
        for name, model in models.items()
        if model
    }
