"""What a run says while it runs: one live line on a terminal, plain lines elsewhere, and events.

`Progress.event` appends one JSON object a line to events.jsonl and shows it; `Progress.say` is a
sentence that stays. Of a live line only the newest is seen; without a terminal one is printed every
`PLAIN_SECONDS`.
"""

from __future__ import annotations

import datetime
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from sidecar.commands.terminal import fit

PLAIN_SECONDS = 10.0


class Progress:
    """For one stage at a time, in one thread. `events` None: nothing is written."""

    def __init__(self, events: Path | None, stage: str, stream: TextIO | None = None) -> None:
        self.events = events
        self._stage = stage
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._is_open = False  # a live line that has no end yet
        self._last_plain = 0.0

    def event(self, kind: str, **fields: Any) -> None:
        """Appends {"time", "stage", "event": kind, **fields} to the events."""
        if self.events is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        told = {"time": now, "stage": self._stage, "event": kind, **fields}
        with self.events.open("a", encoding="utf-8") as out:
            out.write(json.dumps(told, ensure_ascii=False) + "\n")

    def say(self, sentence: str) -> None:
        """A line that stays, of the stage."""
        self._end_live()
        print(f"{self._stage}: {sentence}", file=self._stream, flush=True)

    def live(self, text: str, last: bool = False) -> None:
        """The state of things, in place of the one before; `last`: it stays."""
        if self._live:
            columns = shutil.get_terminal_size().columns - 1
            print(
                f"\r\x1b[2K{fit(f'{self._stage}: {text}', columns).rstrip()}",
                end="",
                file=self._stream,
            )
            self._stream.flush()
            self._is_open = True
            if last:
                self._end_live()
        elif last or time.monotonic() - self._last_plain >= PLAIN_SECONDS:
            self._last_plain = time.monotonic()
            self.say(text)

    def _end_live(self) -> None:
        if self._is_open:
            print(file=self._stream)
            self._is_open = False


def in_words(**fields: Any) -> str:
    """step=50, loss=0.25 -> "step 50 | loss 0.2500": the fields of a live line, None left out."""
    shown = (
        f"{name.replace('_', ' ')} {value:.4f}"
        if isinstance(value, float)
        else f"{name.replace('_', ' ')} {value}"
        for name, value in fields.items()
        if value is not None
    )
    return " | ".join(shown)
