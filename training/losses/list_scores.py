"""Scores of a bi-encoder's lists, so that every loss over lists trains it too.

s_i = q_list(i) . d_i / T   (of normalised vectors: cosine)
"""

from torch import Tensor
from torch.nn.functional import normalize

from training.losses.ragged import precise


def list_scores(
    queries: Tensor,
    documents: Tensor,
    groups: Tensor,
    temperature: float = 1.0,
    cosine: bool = True,
) -> Tensor:
    """(pairs,) from `queries` (lists, dim), `documents` (pairs, dim) and `groups` (pairs,)."""
    queries, documents = precise(queries), precise(documents)
    if cosine:
        queries, documents = normalize(queries, dim=1), normalize(documents, dim=1)
    return (queries[groups] * documents).sum(dim=1) / temperature
