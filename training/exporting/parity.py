"""Whether the exported folder serves what was trained: the same pairs through the real server.

A sidecar process of its own opens the folder as any other would; a reranker is sent the pairs, a
bi-encoder's passages are indexed and its queries searched. Beside the correlation of all scores,
the dev measure of the served ones less that of the trained ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.evaluation.evidence import Parity, parity_of
from training.exporting.dev_pairs import DevPairs, Floats
from training.serving.client import SidecarClient
from training.serving.private import private_sidecar

COLLECTION = "parity"
MOST_PASSAGES = 1000  # that one call takes, and that recall gives


def measure_parity(
    dev: DevPairs, trained: Floats, folder: Path, role: str, scratch: Path
) -> Parity:
    """`trained`: (pairs,), what training gives for the pairs of `dev`; `role`: whose place the
    model in `folder` takes. Raises ModelError where it does not serve."""
    settings = {
        "recall": dict.fromkeys(("lexical_depth", "dense_depth", "fused_depth"), MOST_PASSAGES)
    }
    with (
        private_sidecar(scratch / "data", {role: folder}, scratch / "sidecar.log", settings) as at,
        SidecarClient(at, COLLECTION) as client,
    ):
        found = _recalled(client, dev) if role == "bi_encoder" else _reranked(client, dev, role)
    known = np.isfinite(found)
    # What a search does not give at all is at the end of every ranking.
    ranked = np.where(known, found, -np.inf)
    difference = dev.measured(ranked) - dev.measured(trained)
    return parity_of(trained[known].tolist(), found[known].tolist(), difference)


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
