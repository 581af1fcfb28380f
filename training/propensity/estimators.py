"""The estimators by the names that the configuration and the command line have for them; `auto`,
which chooses among them, is in training/labels."""

from __future__ import annotations

from pathlib import Path

from sidecar.errors import ConfigurationError
from training.propensity.base import Estimator
from training.propensity.dcm import CascadeClicks, DependentClicks
from training.propensity.from_file import PropensityFile
from training.propensity.harvest import InterventionHarvest
from training.propensity.none import NoPropensity
from training.propensity.pbm import PositionBasedEM
from training.propensity.power import PowerLaw
from training.propensity.trust import AffineTrustBias

# What is learnt from a log; "file" needs a path besides.
LEARNT: dict[str, Estimator] = {
    one.name: one
    for one in (
        NoPropensity(),
        PowerLaw(),
        InterventionHarvest(),
        PositionBasedEM(),
        AffineTrustBias(),
        CascadeClicks(),
        DependentClicks(),
    )
}
NAMES = (*LEARNT, "file")


def estimator_named(name: str, path: Path | None = None) -> Estimator:
    """The estimator of a name; `path` is that of "file". Raises ConfigurationError."""
    if name == "file":
        if path is None:
            raise ConfigurationError("propensity file: say where the file is")
        return PropensityFile(path)
    if name not in LEARNT:
        raise ConfigurationError(f"propensity {name!r}: there are {', '.join(NAMES)}")
    return LEARNT[name]
