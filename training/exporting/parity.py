"""What the exported folder serves: the same pairs through the real server.

A sidecar process of its own opens the folder as any other would; a reranker is sent the pairs, a
bi-encoder's passages are indexed and its queries searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.evaluation.evidence import Parity, parity_of
from training.exporting.dev_pairs import DevPairs, Floats
from training.serving.client import SidecarClient
from training.serving.private import private_sidecar

COLLECTION = "parity"
MOST_PASSAGES = 1000  # that one call takes, and that recall gives
SURE_DEVIATIONS = 1.96


@dataclass(frozen=True, slots=True)
class Compared:
    """Served beside trained. `difference`: of the mean measures as it was found; `deviation`: its
    standard error over the lists. Of these, `parity` has what is sure: two candidates that score
    almost alike change places in some list, which says nothing while lists are few."""

    parity: Parity
    difference: float
    deviation: float


def served_scores(
    dev: DevPairs, models: Mapping[str, str | Path], scratch: Path
) -> dict[str, Floats]:
    """(pairs,) of each role in `models`: logits of rerankers, cosines of a bi-encoder (NaN where
    recall gave none). Raises ModelError where one does not serve."""
    settings = {
        "recall": dict.fromkeys(("lexical_depth", "dense_depth", "fused_depth"), MOST_PASSAGES)
    }
    with (
        private_sidecar(scratch / "data", models, scratch / "sidecar.log", settings) as address,
        SidecarClient(address, COLLECTION) as client,
    ):
        return {
            role: _recalled(client, dev) if role == "bi_encoder" else _reranked(client, dev, role)
            for role in models
        }


def compared(dev: DevPairs, trained: Floats, served: Floats) -> Compared:
    """Both (pairs,). Pairs without a served score end every ranking and are not correlated."""
    known = np.isfinite(served)
    before = dev.measured_by_list(trained)
    differences = dev.measured_by_list(np.where(known, served, -np.inf)) - before
    mean = float(differences.mean()) if len(differences) else 0.0
    spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
    deviation = float(spread / np.sqrt(max(len(differences), 1)))
    sure = np.sign(mean) * max(0.0, abs(mean) - SURE_DEVIATIONS * deviation)
    parity = parity_of(trained[known].tolist(), served[known].tolist(), float(sure))
    return Compared(parity, mean, deviation)


def _reranked(client: SidecarClient, dev: DevPairs, role: str) -> Floats:
    scores: list[float] = []
    for one in dev.lists:
        passages = {each.doc_id: dev.passages[each.doc_id] for each in one.candidates}
        given = client.rerank(one.query, passages, role)
        scores += [given[each.doc_id] for each in one.candidates]
    return np.asarray(scores, dtype=np.float64)


def _recalled(client: SidecarClient, dev: DevPairs) -> Floats:
    """Cosines, NaN for pairs that recall did not give one for."""
    doc_ids = dict.fromkeys(each.doc_id for one in dev.lists for each in one.candidates)
    client.index({"_id": doc_id, "text": dev.passages[doc_id]} for doc_id in doc_ids)
    found = client.recall([one.query for one in dev.lists], MOST_PASSAGES)
    cosines = []
    for one in dev.lists:
        by_id = {each.doc_id: each.dense for each in found[one.query]}
        cosines += [by_id.get(each.doc_id) for each in one.candidates]
    return np.asarray([np.nan if each is None else each for each in cosines], dtype=np.float64)
