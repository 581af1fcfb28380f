"""Stage 3, train: lists of candidates in, one network with two heads out.

A step takes a few lists, scores all their pairs in micro-batches of like length (little padding),
and adds two losses for both heads: MarginMSE against the teacher, and listwise softmax against the
gains. The weights that are kept are an exponential moving average over the steps.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.carried.network import TwoHeads
from training.losses.listwise_softmax import listwise_softmax
from training.losses.margin_mse import margin_mse

_LENGTH_STEP = 16


PairTokens = tuple[tuple[int, ...], tuple[int, ...]]  # query, passage; no special tokens


@dataclass(frozen=True, slots=True)
class TokenizedList:
    """A query's candidates, as token ids without special tokens.

    `teacher` holds the teacher's scores (empty: none), `gains` the relevance (empty: none).
    """

    query: tuple[int, ...]
    passages: tuple[tuple[int, ...], ...]
    teacher: tuple[float, ...] = ()
    gains: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Budgets:
    """Tokens kept of a query and of a passage; [CLS] and both [SEP] come on top."""

    query: int = 48
    passage: int = 205

    def cut(self, query: Sequence[int], passage: Sequence[int]) -> PairTokens:
        """Both cut at their ends."""
        return tuple(query[: self.query]), tuple(passage[: self.passage])


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids in the vocabulary in use."""

    pad: int
    cls: int
    sep: int


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """The ids of [PAD], [CLS] and [SEP]."""
    numbers = tokenizer.get_vocab()
    return SpecialTokens(numbers["[PAD]"], numbers["[CLS]"], numbers["[SEP]"])


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train. `shares` are the lists of a step per source, in the sources' order."""

    steps: int
    shares: tuple[int, ...]
    rate: float = 1.5e-4
    final_rate_share: float = 0.02
    warmup_steps: int = 100
    weight_decay: float = 0.01
    teacher_weight: float = 1.0
    gains_weight: float = 1.0
    average_decay: float = 0.995
    lists_at_once: int = 4
    micro_batch_pairs: int = 16
    bfloat16: bool = True
    budgets: Budgets = field(default_factory=Budgets)


Sources = Sequence[Sequence[TokenizedList]]
Watch = Callable[[int, float, TwoHeads], None]


def train(
    network: TwoHeads,
    sources: Sources,
    tokens: SpecialTokens,
    plan: Plan,
    seed: int,
    watch: Watch = lambda step, loss, average: None,
) -> TwoHeads:
    """Train `network` in place; returns the averaged one. `watch` is called after every step."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    draws = [_forever(source, rng) for source in sources]
    optimizer = torch.optim.AdamW(
        [weight for weight in network.parameters() if weight.requires_grad],
        betas=(0.9, 0.98),
        weight_decay=plan.weight_decay,
    )
    average = copy.deepcopy(network)
    average.eval()
    network.train()
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, plan)
        lists = [
            next(draw) for draw, share in zip(draws, plan.shares, strict=True) for _ in range(share)
        ]
        loss = _step(network, optimizer, lists, tokens, plan)
        _average(average, network, min(plan.average_decay, (step + 1) / (step + 10)))
        watch(step, loss, average)
    return average


def rate_at(step: int, plan: Plan) -> float:
    """The learning rate: a linear rise, then half a cosine down to `final_rate_share` of it."""
    if step < plan.warmup_steps:
        return plan.rate * (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    share = plan.final_rate_share
    return plan.rate * (share + (1 - share) * 0.5 * (1 + math.cos(math.pi * done)))


def loss_of(scores: Tensor, lists: Sequence[TokenizedList], plan: Plan) -> Tensor:
    """Both losses of both heads. `scores`: (2, pairs), pairs in the order of `lists`."""
    sizes = torch.tensor([len(one.passages) for one in lists])
    groups = torch.repeat_interleave(torch.arange(len(lists)), sizes)  # (pairs,)
    total = scores.new_zeros(())
    for loss, weight, targets in (
        (margin_mse, plan.teacher_weight, [one.teacher for one in lists]),
        (listwise_softmax, plan.gains_weight, [one.gains for one in lists]),
    ):
        given = torch.tensor([bool(target) for target in targets])
        if weight and given.any():
            target = torch.tensor([value for row in targets for value in row], dtype=scores.dtype)
            kept = given[groups]
            share = weight * float(given.sum()) / len(lists)
            for head in scores:
                total = total + share * loss(head[kept], groups[kept], target)
    return total


def score_lists(
    network: TwoHeads, lists: Sequence[TokenizedList], tokens: SpecialTokens, plan: Plan
) -> Tensor:
    """(2, pairs): the scores of all pairs of all lists, in order."""
    pairs = [plan.budgets.cut(one.query, passage) for one in lists for passage in one.passages]
    by_length = sorted(range(len(pairs)), key=lambda place: len(pairs[place][0] + pairs[place][1]))
    parts = []
    for start in range(0, len(pairs), plan.micro_batch_pairs):
        chosen = by_length[start : start + plan.micro_batch_pairs]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=plan.bfloat16):
            part = network(*pad_pairs([pairs[place] for place in chosen], tokens))
        parts.append(part.float())
    back = torch.empty(len(pairs), dtype=torch.long)
    back[torch.tensor(by_length)] = torch.arange(len(pairs))
    return torch.cat(parts, dim=1)[:, back]


def pad_pairs(pairs: Sequence[PairTokens], tokens: SpecialTokens) -> tuple[Tensor, Tensor, Tensor]:
    """[CLS] query [SEP] passage [SEP], padded: ids, mask and types, each (pairs, tokens) int64.

    Lengths are rounded up, so that few shapes occur: each new one costs a compilation.
    """
    longest = max(len(query) + len(passage) for query, passage in pairs) + 3
    longest += -longest % _LENGTH_STEP
    ids = torch.full((len(pairs), longest), tokens.pad)
    mask = torch.zeros_like(ids)
    types = torch.zeros_like(ids)
    for row, (query, passage) in enumerate(pairs):
        line = (tokens.cls, *query, tokens.sep, *passage, tokens.sep)
        ids[row, : len(line)] = torch.tensor(line)
        mask[row, : len(line)] = 1
        types[row, len(query) + 2 : len(line)] = 1
    return ids, mask, types


def _step(
    network: TwoHeads,
    optimizer: torch.optim.Optimizer,
    lists: Sequence[TokenizedList],
    tokens: SpecialTokens,
    plan: Plan,
) -> float:
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for start in range(0, len(lists), plan.lists_at_once):
        chosen = lists[start : start + plan.lists_at_once]
        loss = loss_of(score_lists(network, chosen, tokens, plan), chosen, plan)
        loss = loss * (len(chosen) / len(lists))
        loss.backward()
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return total


def _forever(source: Sequence[TokenizedList], rng: random.Random) -> Iterator[TokenizedList]:
    """All lists in a new order each round."""
    order = list(range(len(source)))
    while order:
        rng.shuffle(order)
        for place in order:
            yield source[place]


@torch.no_grad()
def _average(average: TwoHeads, network: TwoHeads, decay: float) -> None:
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
