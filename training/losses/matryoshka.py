"""Matryoshka: the first numbers of a vector are to be a good shorter vector.

    L = sum_m c_m loss(q[:m], d[:m]) / sum_m c_m

over the widths m that will be served. Kusupati et al., "Matryoshka Representation Learning",
NeurIPS 2022. The loss sees vectors that are not normalised after they were cut: InfoNCE and
`list_scores` with `cosine` do that themselves.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EmbeddingLoss = Callable[[Tensor, Tensor], Tensor]


def matryoshka(
    loss: EmbeddingLoss,
    queries: Tensor,
    documents: Tensor,
    widths: Sequence[int],
    width_weights: Sequence[float] | None = None,
) -> Tensor:
    """`loss(queries[:, :m], documents[:, :m])` over the widths, weighted.

    `queries`: (queries, dim), `documents`: (documents, dim). Raises ValueError for a width that the
    vectors do not have, and where none is given.
    """
    dim = queries.shape[1]
    if not widths or min(widths) < 1 or max(widths) > dim:
        raise ValueError(f"widths must be from 1 to {dim}: {list(widths)}")
    shares = [1.0] * len(widths) if width_weights is None else list(width_weights)
    each = [
        share * loss(queries[:, :width], documents[:, :width])
        for width, share in zip(widths, shares, strict=True)
    ]
    return torch.stack(each).sum() / sum(shares)
