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

PairLoss = Callable[[Tensor, Targets], Tensor]
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
    gathers: bool = False
    adds: bool = False


def pair_objective(config: FineTuneConfig) -> Objective:
    """For a cross-encoder, by one of config.PAIR_LOSSES."""
    name = config.loss
    adds = name != "rerank_and_classify"  # a mean over lists, and another over pairs
    return Objective(_pair_losses(config)[name], _terms_of(name), _tells(name), adds=adds)


def vector_objective(config: FineTuneConfig, cosine: bool) -> Objective:
    """For a bi-encoder, by one of config.VECTOR_LOSSES; `cosine`: its vectors are normalised.

    Similarities are cosines over a temperature (.05 unless the configuration says another; dot
    products over 1). Distillation softens them and the teacher's logits by its own temperature.
    """
    name = config.loss
    loss = _in_batch(config, cosine) if name == "info_nce" else _of_lists(config, cosine)
    if config.widths:
        loss = functools.partial(_at_widths, loss, config.widths)
    if name == "info_nce":
        loss = functools.partial(_over_processes, loss)
    return Objective(loss, _terms_of(name), _tells(name), gathers=name == "info_nce")


def _pair_losses(config: FineTuneConfig) -> Mapping[str, PairLoss]:
    warmth = config.temperature or 1.0

    def graded(loss: Callable[..., Tensor], **settings: float) -> PairLoss:
        return lambda scores, t: loss(scores, t.groups, t.grades, t.weights, **settings)

    return {
        "listwise_softmax": lambda scores, t: listwise_softmax(
            _faded(scores, t, warmth), t.groups, t.gains, t.weights, warmth
        ),
        "binary_cross_entropy": lambda scores, t: binary_cross_entropy(
            scores, t.groups, t.gains, t.weights
        ),
        "lambda_loss": graded(lambda_loss, temperature=warmth),
        "margin_ranking": graded(margin_ranking, margin=config.margin),
        "rank_net": graded(rank_net, temperature=warmth),
        "distillation": functools.partial(_distilled, config),
        "margin_mse": _margin_mse,
        "rerank_and_classify": lambda scores, t: rerank_and_classify(
            _faded(scores, t, 1.0),
            t.groups,
            t.gains,
            class_logits=scores,
            labels=t.gains > 0,
            weights=t.weights,
            class_weight=config.class_weight,
        ),
    }


def _faded(scores: Tensor, targets: Targets, temperature: float) -> Tensor:
    """Logits of negatives, lower the less sure they are."""
    fading = temperature * targets.weights.clamp(min=_LEAST_WEIGHT).log()
    return scores + torch.where(targets.gains > 0, 0.0, fading)


def _taught(scores: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores, groups, teacher's logits and weights of the pairs that a teacher scored."""
    known = ~targets.teacher.isnan()
    return scores[known], targets.groups[known], targets.teacher[known], targets.weights[known]


def _distilled(config: FineTuneConfig, scores: Tensor, targets: Targets) -> Tensor:
    temperature = config.temperature or DISTILLATION_TEMPERATURE
    return distillation(*_taught(scores, targets), temperature, config.rank_weight)


def _margin_mse(scores: Tensor, targets: Targets) -> Tensor:
    return margin_mse(*_taught(scores, targets))


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
            temperature=_similarity_temperature(config, cosine),
            false_negative_margin=margin if margin >= 0 else None,
            cosine=cosine,
        )

    return loss


def _of_lists(config: FineTuneConfig, cosine: bool) -> VectorLoss:
    """A loss over lists, of similarities as scores."""
    over = _pair_losses(replace(config, temperature=_temperature_of_list(config)))[config.loss]
    temperature = _similarity_temperature(config, cosine)

    def loss(queries: Tensor, documents: Tensor, targets: Targets) -> Tensor:
        chosen = documents[targets.places]
        return over(list_scores(queries, chosen, targets.groups, temperature, cosine), targets)

    return loss


def _similarity_temperature(config: FineTuneConfig, cosine: bool) -> float:
    usual = COSINE_TEMPERATURE if cosine else 1.0
    return usual if config.loss == "distillation" else config.temperature or usual


def _temperature_of_list(config: FineTuneConfig) -> float:
    """What is left for the loss once the similarities have had theirs."""
    return config.temperature if config.loss == "distillation" else 1.0


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


# -- what is counted


def _terms_of(name: str) -> Callable[[Targets], int]:
    return {
        "info_nce": lambda t: int((t.gains > 0).sum()),
        "binary_cross_entropy": lambda t: len(t.gains),
        "margin_mse": _lists_of_two,
        "distillation": _lists_of_two,
        "lambda_loss": _lists_with_preferences,
        "margin_ranking": _lists_with_preferences,
        "rank_net": _lists_with_preferences,
    }.get(name, _lists_with_gains)


def _lists_with_gains(targets: Targets) -> int:
    return len(targets.groups[targets.gains > 0].unique())


def _lists_of_two(targets: Targets) -> int:
    return int((targets.groups[~targets.teacher.isnan()].bincount() > 1).sum())


def _lists_with_preferences(targets: Targets) -> int:
    count = len(targets.query_ids)
    limits = [
        targets.grades.new_full((count,), start).scatter_reduce(
            0, targets.groups, targets.grades, how
        )
        for how, start in (("amin", torch.inf), ("amax", -torch.inf))
    ]
    return int((limits[0] < limits[1]).sum())


def _tells(name: str) -> Callable[[TrainingList], bool]:
    def of_one(one: TrainingList) -> bool:
        sure = [each for each in one.candidates if each.weight > 0]
        if name == "info_nce":
            return any(each.gain > 0 for each in sure)
        if name == "binary_cross_entropy":
            return bool(sure)
        if name in ("margin_mse", "distillation"):
            return sum(each.teacher is not None for each in sure) > 1
        if name in ("lambda_loss", "margin_ranking", "rank_net"):
            return len({each.grade for each in sure}) > 1
        return len(sure) > 1 and any(each.gain > 0 for each in sure)

    return of_one
