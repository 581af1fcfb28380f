"""Writes of many threads, done together by whichever of them comes to it first.

While one writes, others queue; the next one then takes all that queued with its own, and a
transaction, with its one fsync, is for all of them. Nobody waits for more to come.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

MOST_TOGETHER = 64

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Asked, Answer]):
    asked: Asked
    answer: Answer | BaseException | None = None


class GroupCommit(Generic[Asked, Answer]):
    """`write_all` gives an answer, or the error to raise, for each of what it is asked for, never
    None. It is called by one thread at a time."""

    def __init__(
        self, write_all: Callable[[Sequence[Asked]], Sequence[Answer | Exception]]
    ) -> None:
        self._write_all = write_all
        self._changed = threading.Condition()
        self._queue: list[_Waiting[Asked, Answer]] = []
        self._is_busy = False
        self._wanting_alone = 0

    def run(self, asked: Asked) -> Answer:
        """What `write_all` answers to it. Raises what it gives, or raises for the whole group."""
        waiting: _Waiting[Asked, Answer] = _Waiting(asked)
        with self._changed:
            self._queue.append(waiting)
        while group := self._next_group(waiting):
            self._write(group)
        if isinstance(waiting.answer, BaseException):
            raise waiting.answer
        assert waiting.answer is not None
        return waiting.answer

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While nothing is written; who asks for it goes before those who queue."""
        with self._changed:
            self._wanting_alone += 1
            self._changed.wait_for(lambda: not self._is_busy)
            self._wanting_alone -= 1
            self._is_busy = True
        try:
            yield
        finally:
            self._free()

    @property
    def queue_length(self) -> int:
        """How many wait to be written."""
        return len(self._queue)

    def _next_group(self, waiting: _Waiting[Asked, Answer]) -> list[_Waiting[Asked, Answer]] | None:
        """What is to be written by the caller, whose turn it is then; None once it is answered."""

        def is_free() -> bool:
            return not self._is_busy and not self._wanting_alone

        with self._changed:
            self._changed.wait_for(lambda: waiting.answer is not None or is_free())
            if waiting.answer is not None:
                return None
            self._is_busy = True
            group, self._queue = self._queue[:MOST_TOGETHER], self._queue[MOST_TOGETHER:]
            return group

    def _write(self, group: Sequence[_Waiting[Asked, Answer]]) -> None:
        answered: list[tuple[_Waiting[Asked, Answer], Answer | BaseException]]
        try:
            answers = self._write_all([each.asked for each in group])
            answered = [*zip(group, answers, strict=True)]
        except BaseException as error:
            answered = [(waiting, error) for waiting in group]
        try:
            for waiting, answer in answered:
                waiting.answer = answer
        finally:
            self._free()

    def _free(self) -> None:
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
