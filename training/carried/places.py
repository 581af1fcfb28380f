"""Where the stages read and write."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """`data` holds the judged sets, `base` all-MiniLM-L6-v2 as transformers loads it.

    `work` keeps what a stage hands to the next, `out` gets a folder for each model.
    """

    data: Path
    base: Path
    work: Path
    out: Path

    @property
    def documents(self) -> Path:
        """What `collect` found."""
        return self.work / "documents.jsonl"

    @property
    def pieces(self) -> Path:
        """Ids of the base's word pieces that the cross-encoders keep."""
        return self.work / "pieces.json"

    @property
    def network(self) -> Path:
        """The trained network's weights."""
        return self.work / "network.pt"

    @property
    def weights(self) -> Path:
        """Weight and calibration of each cross-encoder's score, by the model's name."""
        return self.work / "weights.json"

    def lists(self, name: str) -> Path:
        """What was mined over a set, or over the short "passages"."""
        return self.work / f"lists.{name}.jsonl"
