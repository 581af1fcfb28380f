"""Names in the configuration -> losses over a batch, and what each is a mean over.

A cross-encoder's loss takes scores (pairs,), a bi-encoder's takes vectors of queries (lists, dim)
and of documents (documents, dim); both take the batch's Targets. Losses are means; `terms` counts
what a mean is over, so that batches of unlike size add up to the mean over all of them.

A negative counts by its weight in a softmax: log w is added to its logit, so that a weight of 0
leaves it out. rerank_and_classify classifies by the score itself, relevant where it is above 0: a
second head would teach what is never served, while this one gives the score that is served a zero,
and keeps the model a plain one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.config import FineTuneConfig
from training.fine_tuning.collator import Targets
from training.fine_tuning.processes import gathered, process_rank, row_counts
from training.fine_tuning.signals import (
    PAIR,
    POSITIVE,
    POSITIVE_AMONG_OTHERS,
    TWO_GRADES,
    TWO_TAUGHT,
    Signal,
)
from training.lists import TrainingList
from training.losses.binary_cross_entropy import binary_cross_entropy
from training.losses.distillation import distillation
from training.losses.info_nce import info_nce
from training.losses.lambda_loss import lambda_loss
from training.losses.list_scores import list_scores
from training.losses.listwise_softmax import listwise_softmax
from training.losses.margin_mse import margin_mse
from training.losses.margin_ranking import margin_ranking
from training.losses.matryoshka import matryoshka
from training.losses.rank_net import rank_net
from training.losses.rerank_and_classify import rerank_and_classify

COSINE_TEMPERATURE = 0.05  # cosines over it span what a cross-encoder's logits do
DISTILLATION_TEMPERATURE = 3.0
_LEAST_WEIGHT = 1e-6
IN_BATCH = "info_nce"  # over vectors; all others are over scores

VectorLoss = Callable[[Tensor, Tensor, Targets], Tensor]


@dataclass(frozen=True, slots=True)
class Objective:
    """What a step makes smaller.

    `loss`: of representations, one tensor a side, and Targets. `terms`: how many its mean is over,
    in these targets. `tells`: whether a list says anything to it. `gathers`: it is one loss over
    the rows of all processes, and so are its terms. `adds`: that of some lists and that of others,
    weighed by their terms, add up to that of all.
    """

    loss: Callable[..., Tensor]
    terms: Callable[[Targets], int]
    tells: Callable[[TrainingList], bool]
    gathers: bool
    adds: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """One loss over the scores of lists.

    `of_scores`: (configuration, scores (pairs,), Targets) -> their mean. `signal`: what it learns
    from. `adds`: as Objective has it. `softens`: the temperature that is configured is its own; a
    bi-encoder's other losses leave it to the similarities.
    """

    of_scores: Callable[[FineTuneConfig, Tensor, Targets], Tensor]
    signal: Signal
    adds: bool
    softens: bool


def pair_objective(config: FineTuneConfig) -> Objective:
    """For a cross-encoder, by one of config.PAIR_LOSSES."""
    chosen = LOSSES[config.loss]
    loss = functools.partial(chosen.of_scores, config)
    return Objective(loss, chosen.signal.terms, chosen.signal.tells, False, chosen.adds)


def vector_objective(config: FineTuneConfig, cosine: bool) -> Objective:
    """For a bi-encoder, by one of config.VECTOR_LOSSES; `cosine`: its vectors are normalised.

    Similarities are cosines over a temperature (.05 unless the configuration says another; dot
    products over 1). Distillation softens them and the teacher's logits by its own temperature.
    """
    in_batch = config.loss == IN_BATCH
    signal = POSITIVE if in_batch else LOSSES[config.loss].signal
    loss = _in_batch(config, cosine) if in_batch else _of_lists(config, cosine)
    if config.widths:
        loss = functools.partial(_at_widths, loss, config.widths)
    if in_batch:
        loss = functools.partial(_over_processes, loss)
    return Objective(loss, signal.terms, signal.tells, gathers=in_batch, adds=False)


def _listwise_softmax(config: FineTuneConfig, scores: Tensor, t: Targets) -> Tensor:
    warmth = _warmth(config)
    return listwise_softmax(_faded(scores, t, warmth), t.groups, t.gains, t.weights, warmth)


def _binary_cross_entropy(config: FineTuneConfig, scores: Tensor, t: Targets) -> Tensor:
    return binary_cross_entropy(scores, t.groups, t.gains, t.weights)


def _lambda_loss(config: FineTuneConfig, scores: Tensor, t: Targets) -> Tensor:
    return lambda_loss(scores, t.groups, t.grades, t.weights, temperature=_warmth(config))


def _margin_ranking(config: FineTuneConfig, scores: Tensor, t: Targets) -> Tensor:
    return margin_ranking(scores, t.groups, t.grades, t.weights, margin=config.margin)


def _rank_net(config: FineTuneConfig, scores: Tensor, t: Targets) -> Tensor:
    return rank_net(scores, t.groups, t.grades, t.weights, temperature=_warmth(config))


def _distillation(config: FineTuneConfig, scores: Tensor, t: Targets) -> Tensor:
    temperature = config.temperature or DISTILLATION_TEMPERATURE
    return distillation(*_taught(scores, t), temperature, config.rank_weight)


def _margin_mse(config: FineTuneConfig, scores: Tensor, t: Targets) -> Tensor:
    return margin_mse(*_taught(scores, t))


def _rerank_and_classify(config: FineTuneConfig, scores: Tensor, t: Targets) -> Tensor:
    return rerank_and_classify(
        _faded(scores, t, 1.0),
        t.groups,
        t.gains,
        class_logits=scores,
        labels=t.gains > 0,
        weights=t.weights,
        class_weight=config.class_weight,
    )


LOSSES: Mapping[str, Loss] = {
    "listwise_softmax": Loss(_listwise_softmax, POSITIVE_AMONG_OTHERS, adds=True, softens=False),
    "binary_cross_entropy": Loss(_binary_cross_entropy, PAIR, adds=True, softens=False),
    "lambda_loss": Loss(_lambda_loss, TWO_GRADES, adds=True, softens=False),
    "margin_ranking": Loss(_margin_ranking, TWO_GRADES, adds=True, softens=False),
    "rank_net": Loss(_rank_net, TWO_GRADES, adds=True, softens=False),
    "distillation": Loss(_distillation, TWO_TAUGHT, adds=True, softens=True),
    "margin_mse": Loss(_margin_mse, TWO_TAUGHT, adds=True, softens=False),
    # A mean over lists, and another over pairs: what lists give does not add up.
    "rerank_and_classify": Loss(
        _rerank_and_classify, POSITIVE_AMONG_OTHERS, adds=False, softens=False
    ),
}


def _warmth(config: FineTuneConfig) -> float:
    return config.temperature or 1.0


def _faded(scores: Tensor, targets: Targets, temperature: float) -> Tensor:
    """Logits of negatives, lower the less sure they are."""
    fading = temperature * targets.weights.clamp(min=_LEAST_WEIGHT).log()
    return scores + torch.where(targets.gains > 0, 0.0, fading)


def _taught(scores: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores, groups, teacher's logits and weights of the pairs that a teacher scored."""
    known = ~targets.teacher.isnan()
    return scores[known], targets.groups[known], targets.teacher[known], targets.weights[known]


def _in_batch(config: FineTuneConfig, cosine: bool) -> VectorLoss:
    margin = config.false_negative_margin

    def loss(queries: Tensor, documents: Tensor, targets: Targets) -> Tensor:
        return info_nce(
            queries,
            documents[targets.places],
            targets.groups,
            targets.gains,
            targets.weights,
            targets.document_ids,
            targets.query_ids,
            temperature=_similarity_temperature(config, cosine, False),
            false_negative_margin=margin if margin >= 0 else None,
            cosine=cosine,
        )

    return loss


def _of_lists(config: FineTuneConfig, cosine: bool) -> VectorLoss:
    """A loss over lists, of similarities as scores."""
    chosen = LOSSES[config.loss]
    left = replace(config, temperature=config.temperature if chosen.softens else 1.0)
    temperature = _similarity_temperature(config, cosine, chosen.softens)

    def loss(queries: Tensor, documents: Tensor, targets: Targets) -> Tensor:
        each = documents[targets.places]
        scores = list_scores(queries, each, targets.groups, temperature, cosine)
        return chosen.of_scores(left, scores, targets)

    return loss


def _similarity_temperature(config: FineTuneConfig, cosine: bool, softens: bool) -> float:
    usual = COSINE_TEMPERATURE if cosine else 1.0
    return usual if softens else config.temperature or usual


def _at_widths(
    loss: VectorLoss, widths: tuple[int, ...], queries: Tensor, documents: Tensor, targets: Targets
) -> Tensor:
    """Of whole vectors and of their first numbers."""
    every = tuple(dict.fromkeys((queries.shape[1], *widths)))
    return matryoshka(lambda q, d: loss(q, d, targets), queries, documents, every)


def _over_processes(
    loss: VectorLoss, queries: Tensor, documents: Tensor, targets: Targets
) -> Tensor:
    """Every query against the documents of all processes."""
    offsets = (
        sum(row_counts(len(rows), rows.device)[: process_rank()]) for rows in (queries, documents)
    )
    first_query, first_document = offsets
    every = Targets(
        groups=gathered(targets.groups + first_query),
        gains=gathered(targets.gains),
        grades=gathered(targets.grades),
        weights=gathered(targets.weights),
        teacher=gathered(targets.teacher),
        document_ids=gathered(targets.document_ids),
        query_ids=gathered(targets.query_ids),
        places=gathered(targets.places + first_document),
    )
    return loss(gathered(queries), gathered(documents), every)
