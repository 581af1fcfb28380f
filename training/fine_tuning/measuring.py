"""nDCG@10 over the dev lists: the candidates of each ranked by score, graded by what is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from training.fine_tuning.collator import Collator, ListBatch
from training.fine_tuning.passes import Passes
from training.fine_tuning.processes import gathered, process_count, process_rank
from training.lists import TrainingList
from training.measures import measure_run, parse_measure, to_ranking

DEV_MEASURE = "nDCG@10"
# Of what dev lists cannot tell from the best, the longer trained is kept, and the less of the base:
# the rule of one standard error (Breiman et al., Classification and Regression Trees, 1984, 3.4.3).
SURE_ERRORS = 1.0


def is_surely_worse(values: Sequence[float], best: Sequence[float]) -> bool:
    """Of the same lists: worse in the mean by a standard error of the difference or more, or not
    different at all."""
    changes = np.subtract(values, best)
    error = float(changes.std(ddof=1)) / len(changes) ** 0.5 if len(changes) > 1 else 0.0
    return float(changes.mean()) <= -SURE_ERRORS * error


def telling_lists(lists: Sequence[TrainingList]) -> list[TrainingList]:
    """Those that can be ranked well or badly: their candidates are not all of one grade."""
    return [one for one in lists if len({each.grade for each in one.candidates}) > 1]


class DevMeasure:
    """The measure of a model at any time, over `lists`. Processes share the work unless the model's
    weights are `sharded`, when all passes have to be made by all.
    """

    def __init__(
        self,
        lists: Sequence[TrainingList],
        collator: Collator,
        passes: Passes,
        sharded: bool = False,
    ) -> None:
        self.count = len(lists)
        self._own = lists if sharded else lists[process_rank() :: process_count()]
        self._shared = not sharded
        self._batch = collator(self._own) if self._own else None
        self._passes = passes
        self.values: list[float] = []  # of each list, at the last call

    def __call__(self, model: nn.Module) -> float:
        """The mean over all lists; 0 without any."""
        values = self._values(model) if self._batch else []
        if self._shared:
            device = next(model.parameters()).device
            values = gathered(torch.tensor(values, dtype=torch.float64, device=device)).tolist()
        self.values = values
        return math.fsum(values) / max(len(values), 1)

    @torch.no_grad()
    def _values(self, model: nn.Module) -> list[float]:
        assert self._batch is not None
        training = model.training
        model.eval()
        try:
            scores = self._scores(model, self._batch).tolist()
        finally:
            model.train(training)
        run, start = {}, 0
        for number, one in enumerate(self._own):
            end = start + len(one.candidates)
            doc_ids = (each.doc_id for each in one.candidates)
            run[str(number)] = to_ranking(dict(zip(doc_ids, scores[start:end], strict=True)))
            start = end
        qrels = {str(number): one.judged for number, one in enumerate(self._own)}
        return list(measure_run([parse_measure(DEV_MEASURE)], run, qrels)[DEV_MEASURE].values())

    def _scores(self, model: nn.Module, batch: ListBatch) -> Tensor:
        """(pairs,)."""
        made = [self._rows(model, batch, number) for number in range(len(batch.sides))]
        if len(made) == 1:
            return made[0]
        queries, documents = made
        targets = batch.targets
        return (queries[targets.groups] * documents[targets.places]).sum(dim=1)

    def _rows(self, model: nn.Module, batch: ListBatch, number: int) -> Tensor:
        """Of one side, in order, on the CPU."""
        side = batch.sides[number]
        chunks = self._passes.chunks(side)
        parts = [
            self._passes.represent(model, [side[place] for place in chunk]).cpu()
            for chunk in chunks
        ]
        places = torch.tensor([place for chunk in chunks for place in chunk])
        rows = torch.cat(parts)
        return torch.empty_like(rows).index_copy_(0, places, rows)
