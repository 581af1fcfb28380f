"""The shapes of the rerankers that `gpu.py` times, and the work that a pair of them is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A transformer by its sizes; `family` is "bert", "xlm-roberta" or "qwen3"."""

    name: str
    family: str
    layers: int
    hidden: int
    heads: int
    key_heads: int
    head_size: int
    inner: int
    vocabulary: int
    positions: int

    @property
    def layer_weights(self) -> int:
        """Weights of a layer that multiply each token; embeddings are looked up, not multiplied."""
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.key_heads)
        matrices = 3 if self.family == "qwen3" else 2
        return attention + matrices * self.hidden * self.inner

    def operations(self, tokens: int) -> float:
        """Of one pair of `tokens` tokens: two for each multiply-add of its layers and attention.

        A decoder's tokens attend to those before them only: half of the products.
        """
        linear = 2.0 * self.layers * self.layer_weights * tokens
        attention = 4.0 * self.layers * self.heads * self.head_size * tokens**2
        return linear + (attention / 2 if self.family == "qwen3" else attention)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("minilm-l6", "bert", 6, 384, 12, 12, 32, 1536, 30522, 512),
        Shape("xlm-r-278m", "xlm-roberta", 12, 768, 12, 12, 64, 3072, 250002, 514),
        Shape("xlm-r-568m", "xlm-roberta", 24, 1024, 16, 16, 64, 4096, 250002, 8194),
        Shape("qwen3-0.6b", "qwen3", 28, 1024, 16, 8, 128, 3072, 151669, 4096),
    )
}


def tiny(shape: Shape) -> Shape:
    """The same family, small enough for any machine."""
    small = {"layers": 2, "hidden": 128, "heads": 4, "key_heads": 2, "head_size": 32, "inner": 256}
    if shape.family != "qwen3":
        small["key_heads"] = 4
    return dataclasses.replace(shape, name=f"{shape.name} (tiny)", vocabulary=2000, **small)
