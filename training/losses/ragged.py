"""Sums, ranks and pairs within the lists of a flat batch; nothing here loops over lists."""

import torch
from torch import Tensor


def precise(scores: Tensor) -> Tensor:
    """In float32, where it was less: a sum over a long list is lost in bfloat16."""
    return scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores


def count_lists(groups: Tensor) -> int:
    """The highest number of a list, plus one."""
    return int(groups.max()) + 1 if groups.numel() else 0


def sum_by_list(values: Tensor, groups: Tensor) -> Tensor:
    """(pairs,) -> (lists,)."""
    return values.new_zeros(count_lists(groups)).index_add(0, groups, values)


def log_softmax_by_list(scores: Tensor, groups: Tensor) -> Tensor:
    """(pairs,): log of the softmax over the pair's list."""
    lowest = scores.new_full((count_lists(groups),), -torch.inf)
    highest = lowest.scatter_reduce(0, groups, scores.detach(), "amax")
    shifted = scores - highest[groups]
    return shifted - sum_by_list(shifted.exp(), groups).log()[groups]


def ranks_by_list(scores: Tensor, groups: Tensor) -> Tensor:
    """(pairs,) int64: the rank by score within the list, from 1; ties by place in the batch."""
    by_score = torch.argsort(scores.detach(), descending=True, stable=True)
    order = by_score[torch.argsort(groups[by_score], stable=True)]
    sizes = torch.bincount(groups)
    starts = (sizes.cumsum(0) - sizes)[groups[order]]
    places = torch.arange(len(order), device=scores.device)
    return torch.empty_like(order).scatter(0, order, places - starts + 1)


def preferences(grades: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Places (better, worse), both (preferences,): all pairs of one list with different grades."""
    order = torch.argsort(groups, stable=True)
    sizes = torch.bincount(groups)
    starts, sizes = (each[groups[order]] for each in (sizes.cumsum(0) - sizes, sizes))
    places = torch.arange(len(order), device=groups.device)
    one = torch.repeat_interleave(places, sizes)
    before = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    other = starts[one] + torch.arange(len(one), device=groups.device) - before
    better, worse = order[one], order[other]
    kept = grades[better] > grades[worse]
    return better[kept], worse[kept]


def mean_over_lists(each: Tensor, told: Tensor) -> Tensor:
    """Mean of `each` (lists,) over the lists with `told` (lists,) bool; 0 if there is none."""
    return torch.where(told, each, 0.0).sum() / told.sum().clamp(min=1)


def mean_of_preferences(
    each: Tensor, better: Tensor, groups: Tensor, weights: Tensor | None
) -> Tensor:
    """Mean over a list's preferences, then over the lists that have any.

    `each`, `better`: (preferences,). A preference weighs what its better document does, as the
    inverse propensities of clicks have it (Joachims, Swaminathan and Schnabel, WSDM 2017).
    """
    if weights is not None:
        each = each * weights[better]
    lists = count_lists(groups)
    counts = torch.bincount(groups[better], minlength=lists)
    sums = each.new_zeros(lists).index_add(0, groups[better], each)
    return mean_over_lists(sums / counts.clamp(min=1), counts > 0)
