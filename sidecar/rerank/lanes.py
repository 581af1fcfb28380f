"""Who may compute now: the slots that the batchers of all models on this machine share."""

from __future__ import annotations


class Lanes:
    """`slots` batches at a time, over all models that compute on the same cores."""

    def __init__(self, slots: int) -> None:
        self.slots = max(1, slots)
