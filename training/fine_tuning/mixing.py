"""Trained weights mixed with those that training began with: w = (1 - s) trained + s base.

Weights between both often rank better than either, and forget less: Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022 (arXiv 2109.01903). Of a LoRA adapter, whose B begins at
0, only B and the head are mixed, so the adapter counts (1 - s).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


def trained_weights(model: nn.Module) -> Weights:
    """A copy of what is trained, on the CPU."""
    return {
        name: weight.detach().to("cpu", copy=True)
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


@torch.no_grad()
def set_mixed(model: nn.Module, trained: Weights, base: Weights, share: float) -> None:
    """Weights with `share` of the base's in them; a share of 0 gives the trained ones exactly."""
    for name, weight in model.named_parameters():
        if name in trained:
            of_base = 0.0 if ".lora_A." in name else share
            mixed = (
                trained[name] if of_base == 0 else torch.lerp(trained[name], base[name], of_base)
            )
            weight.copy_(mixed)
