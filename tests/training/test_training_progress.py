"""What a run says: on a terminal, elsewhere, and in its events."""

import io
import json

from training.progress import Progress, in_words


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_events_are_one_object_a_line(tmp_path):
    progress = Progress(tmp_path / "events.jsonl", "mine", io.StringIO())
    progress.event("step", step=3, loss=0.5)
    progress.event("note", text="Grüße")
    events = [
        json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()
    ]
    assert [(e["stage"], e["event"]) for e in events] == [("mine", "step"), ("mine", "note")]
    assert events[0]["loss"] == 0.5
    assert events[1]["text"] == "Grüße"


def test_a_terminal_has_one_live_line():
    stream = Terminal()
    progress = Progress(None, "train", stream)
    progress.live("step 1")
    progress.live("step 2")
    progress.say("done")
    assert stream.getvalue() == "\r\x1b[2Ktrain: step 1\r\x1b[2Ktrain: step 2\ntrain: done\n"


def test_elsewhere_lines_are_plain_and_few():
    stream = io.StringIO()
    progress = Progress(None, "train", stream)
    for number in range(1000):
        progress.live(f"step {number}")
    progress.live("step 1000", last=True)
    assert stream.getvalue() == "train: step 0\ntrain: step 1000\n"


def test_fields_in_words():
    assert in_words(step=5, loss=0.25, dev_nDCG=None, left="3 min") == (
        "step 5 | loss 0.2500 | left 3 min"
    )
