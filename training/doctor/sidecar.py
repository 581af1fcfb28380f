"""The sidecar that is to get better, and the registry that it takes its models from."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.errors import SidecarError
from training.config import MODELS, CollectConfig, TrainingConfig
from training.doctor.findings import Finding, fail, ok, warn
from training.examples.places import place_of
from training.run_files import CORPUS_FILE
from training.serving.client import SidecarClient
from training.serving.models import serving_models

PROBE = "a"
SECONDS = 10.0


def look_at_sidecar(config: TrainingConfig) -> Iterator[Finding]:
    """Whether it answers, has the collection, and serves what would be published."""
    address, collection = config.sidecar.address, config.sidecar.collection
    if not address:
        yield _look_without(config.collect)
        return
    try:
        with SidecarClient(address, collection, SECONDS) as client:
            client.recall([PROBE], depth=1)
    except SidecarError as error:
        advice = "start `sidecar serve`, or correct sidecar.address and sidecar.collection"
        yield fail("sidecar", error.message, advice)
        return
    yield ok("sidecar", f"{address} answers, collection {collection!r} is there")
    yield from _look_at_serving(config)


def _look_without(collect: CollectConfig) -> Finding:
    """Who has the documents, where no sidecar is asked."""
    folders = [place_of(given).path for given in collect.judgments if given]
    if collect.corpus or any((folder / CORPUS_FILE).is_file() for folder in folders):
        return ok("sidecar", "none: recall is over the documents of files")
    advice = "set sidecar.address, collect.corpus, or both"
    if folders:
        told = "none is named, no corpus either: there are only documents in labelled rows"
        return warn("sidecar", told, advice)
    told = "none is named, and there is no collect.corpus: nobody has the documents"
    return fail("sidecar", told, advice)


def _look_at_serving(config: TrainingConfig) -> Iterator[Finding]:
    """Published models reach the sidecar only under the names that it has of its registry."""
    if not config.publish.registry or config.publish.to == "version":
        return
    try:
        serving = serving_models(config.sidecar.address, SECONDS)
    except SidecarError as error:
        yield fail("serving models", error.message, "see the sidecar's log")
        return
    for model in MODELS:
        section = config.fine_tune(model)
        if not section.train:
            continue
        name, found = getattr(config.publish, model), serving.get(section.role)
        if found is not None and found.registry_model == name:
            yield ok(section.role, f"the sidecar serves {name} {found.version} of its registry")
            continue
        has = "none" if found is None else found.registry_model or f"{found.name}, of no registry"
        advice = f'start the sidecar with {section.role}.model = "registry:{name}", or set '
        yield warn(
            section.role,
            f"the sidecar serves {has}: {name} cannot be exchanged while it runs",
            advice + 'publish.to = "version"',
        )
