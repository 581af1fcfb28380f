"""All that the doctor looks at, in the order in which a run would meet it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.config import TrainingConfig
from training.doctor.findings import Finding
from training.doctor.inputs import look_at_inputs
from training.doctor.models import look_at_models
from training.doctor.places import look_at_places
from training.doctor.sidecar import look_at_sidecar
from training.doctor.software import look_at_software


def examine(config: TrainingConfig, root: Path) -> Iterator[Finding]:
    """What would stop or hinder a run in the folder `root`. Nothing is trained or written, but for
    an empty file that is removed again."""
    yield from look_at_software(config)
    yield from look_at_sidecar(config)
    yield from look_at_inputs(config)
    yield from look_at_models(config)
    yield from look_at_places(config, root)
