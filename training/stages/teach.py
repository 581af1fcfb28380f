"""Lets a teacher, a larger cross-encoder, score the candidates of all lists.

mine's lists -> its logits (kept as they come) -> lists.jsonl with them, without the negatives that
it takes for relevant. Distillation reads the logits, every loss gains by the cleaner lists. A
teacher is a cross-encoder: it sees both texts, a bi-encoder would teach its own blind spots.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigurationError, ModelError
from training.config import FineTuneConfig, TrainingConfig
from training.examples.places import there
from training.lists import TrainingList, read_lists, read_passages, write_lists
from training.mining.denoising import denoised, with_teacher
from training.mining.rows import Rows
from training.progress import in_words
from training.run_files import LISTS_FILE, PASSAGES_FILE
from training.stage import Stage, Work

PAIRS_KEPT_TOGETHER = 1024  # scored anew by a run that was cut short
Pair = tuple[str, str]
Score = Callable[[Sequence[Pair]], Sequence[float]]


def run(work: Work) -> Mapping[str, Any]:
    """Figures: the teacher, how many pairs it scored, how many negatives it took for relevant."""
    config = work.config.fine_tune(work.model)
    mined = work.input("mine")
    lists = list(read_lists(mined / LISTS_FILE))
    rows = Rows(work.scratch / "logits.jsonl")
    if rows.count < len(lists):
        score_all(open_teacher(config, work), lists, mined / PASSAGES_FILE, rows, work)
    taught = [with_teacher(one, row[1]) for one, row in zip(lists, rows, strict=True)]
    clean = [denoised(one, config.mine.teacher_margin) for one in taught]
    write_lists(clean, work.out / LISTS_FILE)
    pairs = sum(len(one.candidates) for one in lists)
    return {
        "teacher": config.teacher,
        "lists": len(lists),
        "pairs": pairs,
        "dropped_negatives": pairs - sum(len(one.candidates) for one in clean),
    }


def open_teacher(config: FineTuneConfig, work: Work) -> Score:
    """Its logits of pairs. Raises ConfigurationError for what is no cross-encoder."""
    import torch

    from training.fine_tuning.opening import open_base
    from training.fine_tuning.scoring import score_pairs

    try:
        opened = open_base(config.teacher, "cross-encoder", registry=work.config.publish.registry)
    except ModelError as error:
        raise ConfigurationError(f"{work.model}.teacher: {error.message}") from error
    opened.model.to("cuda" if torch.cuda.is_available() else "cpu")

    def score(pairs: Sequence[Pair]) -> Sequence[float]:
        logits: list[float] = score_pairs(opened, pairs, config.chunk_tokens).tolist()
        if not all(map(math.isfinite, logits)):
            raise ModelError(f"the teacher {config.teacher} gives scores that are no numbers")
        return logits

    return score


def score_all(
    score: Score,
    lists: Sequence[TrainingList],
    passages_file: Path,
    rows: Rows,
    work: Work,
) -> None:
    """One row a list, [query id, logits], in their order, after those that are there already."""
    passages = read_passages(passages_file)
    began, done = time.monotonic(), 0
    total = sum(len(one.candidates) for one in lists[rows.count :])
    for part in chunks(lists[rows.count :]):
        pairs = [(one.query, passages[each.doc_id]) for one in part for each in one.candidates]
        logits = iter(score(pairs))
        rows.append([one.query_id, [next(logits) for _ in one.candidates]] for one in part)
        done += len(pairs)
        speed = done / max(time.monotonic() - began, 1e-9)
        left = f"{(total - done) / speed:.0f} s"
        work.progress.live(
            in_words(scored=f"{done} of {total}", pairs_a_second=round(speed, 1), left=left)
        )


def chunks(lists: Sequence[TrainingList]) -> Iterator[list[TrainingList]]:
    """Runs of lists that have `PAIRS_KEPT_TOGETHER` candidates or a little more."""
    part: list[TrainingList] = []
    for one in lists:
        part.append(one)
        if sum(len(each.candidates) for each in part) >= PAIRS_KEPT_TOGETHER:
            yield part
            part = []
    if part:
        yield part


def _reads(config: TrainingConfig, model: str) -> tuple[Path, ...]:
    return there(config.fine_tune(model).teacher)


STAGE = Stage(
    "teach",
    "lets a teacher score the candidates",
    run,
    sections=("{model}.teacher", "{model}.mine.teacher_margin", "publish.registry"),
    needs=("mine",),
    reads=_reads,
    only_with="{model}.teacher",
)
