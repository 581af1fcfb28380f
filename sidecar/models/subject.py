"""A model whose runtime is chosen: inputs, outputs, and how far two outputs are apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.models.base import Pair
from sidecar.models.bi_encoder import encode_texts
from sidecar.models.contract import ModelContract
from sidecar.models.cross_encoder import score_pairs, within_contract
from sidecar.models.runtime import Runtime
from sidecar.models.sample_texts import sample_pairs
from sidecar.models.tokenizing import Tokenizer
from sidecar.types import Truncation

Outputs = npt.NDArray[np.float32]  # (inputs,) scores or (inputs, dimensions) unit vectors
OutputsOf = Callable[[Runtime, Sequence[Pair]], Outputs]  # of one batch

BI_ENCODER_TOLERANCE = 0.001  # 1 - cosine with fp32's vector
# Fixed 8-bit weights move scores by far more than rounding does, which is why a contract has to say
# that the measured nDCG holds; beyond this the model computes something else.
EIGHT_BIT_TOLERANCE = {"cross-encoder": 0.5, "bi-encoder": 0.02}
_BUILT_IN_STEP = 7  # of 96 built-in pairs, 14 take the place of golden ones
_PASSAGE_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Subject:
    """What the choice of a runtime needs of a model.

    `inputs` hold the contract's golden pairs and the built-in ones. `golden_inputs` are two texts a
    pair for a bi-encoder, one input a pair for a cross-encoder; `golden_scores` are what the
    contract says of them, empty where it names none (then the inputs are built-in pairs).
    `tolerance` is in the unit of `differences`. Batches have at most `batch_pairs` inputs and
    `batch_tokens` tokens, padding included. Small requests of `small_request` inputs are
    measured beside the large one; none if it is 0, for a model whose batcher merges requests.
    """

    contract: ModelContract
    inputs: tuple[Pair, ...]
    golden_inputs: tuple[Pair, ...]
    golden_scores: tuple[float, ...]
    batch_pairs: int
    batch_tokens: int
    small_request: int
    tolerance: float
    outputs_of: OutputsOf

    def tolerance_of(self, precision: str) -> float:
        """The tolerance, wider for 8 bits where the contract says that they hold."""
        if precision == "int8" and self.contract.eight_bit_holds:
            return max(self.tolerance, EIGHT_BIT_TOLERANCE[self.contract.kind])
        return self.tolerance

    def differences(self, outputs: Outputs, reference: Outputs, spread: float) -> Outputs:
        """How far each output is from fp32's, infinite for NaN.

        Scores: |difference| in units of `spread`, the standard deviation of the sample scores.
        Vectors: 1 - cosine.
        """
        if outputs.ndim == 1:
            apart = np.abs(outputs - reference) / spread
        else:
            apart = 1.0 - np.einsum("nd,nd->n", outputs, reference)
        return np.where(np.isfinite(apart), apart, np.inf).astype(np.float32)

    def golden_scores_of(self, runtime: Runtime, together: bool) -> Outputs:
        """The scores of the golden pairs (logits or cosines) in one batch or each alone."""
        if together:
            outputs = self.outputs_of(runtime, self.golden_inputs)
        else:
            alone = [self.outputs_of(runtime, [one]) for one in self.golden_inputs]
            outputs = np.concatenate(alone)
        if outputs.ndim == 1:
            return outputs
        cosines: Outputs = np.einsum("nd,nd->n", outputs[0::2], outputs[1::2])
        return cosines


def cross_encoder_subject(
    contract: ModelContract, tokenizer: Tokenizer, batch_tokens: int, tolerance: float
) -> Subject:
    """The subject of a cross-encoder."""
    pad_id = tokenizer.pad_id
    truncation = within_contract(Truncation(), contract)

    def tokenize(pairs: Sequence[tuple[str, str]]) -> tuple[Pair, ...]:
        return tuple(
            pair
            for query, passage in pairs
            for pair in tokenizer.pairs(query, [passage], truncation)[0].pairs
            if isinstance(pair, Pair)
        )

    return Subject(
        contract=contract,
        inputs=tokenize([*_golden_pairs(contract), *sample_pairs()]),
        golden_inputs=tokenize(_golden_pairs(contract)),
        golden_scores=tuple(score for _, _, score in contract.golden_pairs),
        batch_pairs=batch_tokens,
        batch_tokens=batch_tokens,
        small_request=0,
        tolerance=tolerance,
        outputs_of=lambda runtime, pairs: score_pairs(runtime, contract, pairs, pad_id),
    )


def bi_encoder_subject(contract: ModelContract, tokenizer: Tokenizer, batch_size: int) -> Subject:
    """The subject of a bi-encoder: the texts of the pairs, each once."""
    pad_id = tokenizer.pad_id

    def tokenize(texts: Sequence[str]) -> tuple[Pair, ...]:
        return tuple(tokenizer.texts(texts, contract.passage_budget(_PASSAGE_TOKENS)))

    golden = _with_prefixes(contract, _golden_pairs(contract))
    pairs = golden + _with_prefixes(contract, sample_pairs())
    return Subject(
        contract=contract,
        inputs=tokenize(list(dict.fromkeys(text for pair in pairs for text in pair))),
        golden_inputs=tokenize([text for pair in golden for text in pair]),
        golden_scores=tuple(score for _, _, score in contract.golden_pairs),
        batch_pairs=batch_size,
        batch_tokens=batch_size * contract.max_tokens,
        small_request=1,
        tolerance=BI_ENCODER_TOLERANCE,
        outputs_of=lambda runtime, texts: encode_texts(runtime, contract, texts, pad_id),
    )


def _golden_pairs(contract: ModelContract) -> list[tuple[str, str]]:
    golden = [(query, passage) for query, passage, _ in contract.golden_pairs]
    return golden or sample_pairs()[::_BUILT_IN_STEP]


def _with_prefixes(
    contract: ModelContract, pairs: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    before_query, before_passage = contract.query_prefix, contract.passage_prefix
    return [(before_query + query, before_passage + passage) for query, passage in pairs]
