"""Feedback logs written by earlier versions still open, and are rolled whole.

`formats/log-N.zip` was written by this project's code when N was the format of
sidecar/storage/feedback/tables.py. A new format gets a new file; the old ones stay.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from feedbacks import NOON, an_event, an_id, in_parquet, submitted

from sidecar.feedback_types import EventResult, EventStatus
from sidecar.storage.feedback.journal import Journal
from sidecar.storage.feedback.roll import everything, roll
from sidecar.storage.feedback.tables import FORMAT

FORMATS = sorted((Path(__file__).parent / "formats").glob("*.zip"))


def test_every_format_is_kept() -> None:
    assert {path.stem for path in FORMATS} == {f"log-{one}" for one in range(1, FORMAT + 1)}


@pytest.mark.parametrize("archive", FORMATS, ids=lambda path: path.name)
def test_an_earlier_format_opens(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        files.extractall(tmp_path)
    journal = Journal(tmp_path)
    (logged,) = journal.write([], [submitted(an_event("e9", 1), an_event("e1", 1))])
    journal.close()
    assert [one.result for one in logged] == [
        EventResult("e9", EventStatus.DUPLICATE, joined=True),
        EventResult("e1", EventStatus.ACCEPTED, joined=True),
    ]
    roll(tmp_path, NOON, everything)
    impressions, events = in_parquet(tmp_path, "impressions"), in_parquet(tmp_path, "events")
    assert [row["impression_id"] for row in impressions] == [an_id(0), an_id(1)]
    assert [row["hits"][0]["doc_id"] for row in impressions] == ["d0", "d0"]
    assert [row["event_id"] for row in events] == ["e0", "e9", "e1"]
