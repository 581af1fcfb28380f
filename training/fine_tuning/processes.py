"""Rows of all processes in each, with gradients for the own ones.

Every process then computes the same loss of all rows and sends gradients back into its own rows
only: together they are the gradient of that loss. DistributedDataParallel takes the mean over
processes, so the loss is to be multiplied by their number.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """1 where nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """0 where nothing is distributed."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def end_processes() -> None:
    """Waits for all and takes leave of them; of no effect where nothing is distributed.

    A process that ends with its group alive now and then aborts: gloo's threads outlive the
    interpreter (pytorch issue 190489).
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def gathered(rows: Tensor) -> Tensor:
    """(own rows, ...) -> (all rows, ...) in the order of ranks; processes may have unlike many."""
    count = process_count()
    if count == 1:
        return rows
    sizes = row_counts(len(rows), rows.device)
    longest = max(sizes)
    padded = rows.detach().new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    parts = [torch.empty_like(padded) for _ in range(count)]
    dist.all_gather(parts, padded)
    kept = [part[:size] for part, size in zip(parts, sizes, strict=True)]
    kept[process_rank()] = rows
    return torch.cat(kept)


def row_counts(own: int, device: torch.device) -> list[int]:
    """`own` of every process, in the order of ranks."""
    if process_count() == 1:
        return [own]
    counts = torch.zeros(process_count(), dtype=torch.long, device=device)
    counts[process_rank()] = own
    dist.all_reduce(counts)
    return [int(count) for count in counts]


def summed(value: float, device: torch.device) -> float:
    """`value` summed over processes."""
    if process_count() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total)
