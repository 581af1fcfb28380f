"""The sidecar with a second-stage reranker at fault, for deadline.py.

    python benchmarks/faulty_server.py --data DIR --fault {none,stalled,killed,nan}

Only the second cross-encoder is replaced: `stalled` answers no batch for ten seconds, `killed` is
there for the first seconds and then gone, `nan` scores every pair as NaN. All else is the program
as it serves, on a free port, which the last word of its first line names.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sidecar.config import Config
from sidecar.config_file import load_config
from sidecar.errors import ModelUnavailableError
from sidecar.models.base import CrossEncoder, ScorablePair, Scores
from sidecar.models.load import load_cross_encoder
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.feedback import open_feedback
from sidecar.pipeline.serving import Serving
from sidecar.pipeline.variant import PRODUCTION, ModelSet
from sidecar.recall.catalog import Catalog
from sidecar.server import Loaded, serve
from sidecar.service.parts import build_parts

FAULTS = ("none", "stalled", "killed", "nan")
STALL_SECONDS = 10.0
ALIVE_SECONDS = 15.0  # of `killed`, so that it dies under load


class FaultyCrossEncoder:
    """A cross-encoder that does all as the given one, but scoring."""

    def __init__(self, sound: CrossEncoder, fault: str) -> None:
        self._sound = sound
        self._fault = fault
        self._end = time.monotonic() + ALIVE_SECONDS
        self.contract = sound.contract
        self.feed = sound.feed
        self.batch_invariant = sound.batch_invariant
        self.template_digest = sound.template_digest
        self.tokenize = sound.tokenize

    async def score(self, pairs: Sequence[ScorablePair]) -> Scores:
        """As the fault has it."""
        if self._fault == "stalled":
            await asyncio.sleep(STALL_SECONDS)
        if self._fault == "killed" and time.monotonic() > self._end:
            raise ModelUnavailableError("connection refused")
        if self._fault == "nan":
            return np.full(len(pairs), np.nan, dtype=np.float32)
        return await self._sound.score(pairs)


def load_with(fault: str, config: Config, data_dir: Path) -> Loaded:
    """The parts of a sidecar without documents."""
    with contextlib.ExitStack() as resources:
        first = load_cross_encoder(config.first_reranker, config.runtime, data_dir)
        second = load_cross_encoder(config.second_reranker, config.runtime, data_dir)
        assert second is not None
        faulty = second if fault == "none" else FaultyCrossEncoder(second, fault)
        workshop = Workshop(config, data_dir)
        models = ModelSet(
            None,
            workshop.reranker_of("first_reranker", first) if first else None,
            workshop.reranker_of("second_reranker", faulty),
        )
        serving = Serving(workshop.variant(PRODUCTION, models))
        resources.callback(serving.close)
        catalog = Catalog.open(data_dir, None, config)
        resources.callback(catalog.close)
        feedback, close_feedback = open_feedback(config.feedback, data_dir)
        resources.callback(close_feedback)
        parts = build_parts(workshop, serving, catalog, feedback, config)
        return Loaded(parts, resources.pop_all(), serving.warm_up)


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fault", choices=FAULTS, default="none")
    arguments = parser.parse_args()
    config = load_config(None)
    server = dataclasses.replace(config.server, listen="127.0.0.1:0")
    asyncio.run(
        serve(
            dataclasses.replace(config, server=server),
            arguments.data,
            lambda address: print(f"serving on {address}", flush=True),
            load=lambda config, data_dir: load_with(arguments.fault, config, data_dir),
        )
    )


if __name__ == "__main__":
    main()
