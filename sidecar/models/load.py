"""The one place that turns a configured model into an encoder that serves.

name -> folder (`hub.py`) -> files and contract (`formats.py`) -> ONNX (`convert.py`, if need be)
-> runtime (`runtime_choice.py` chooses and checks it) -> encoder.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sidecar.config import BiEncoderConfig, Config, RerankerConfig, RuntimeConfig, VllmConfig
from sidecar.errors import ModelError, ModelRefusedError, StorageError
from sidecar.models.base import BiEncoder, CrossEncoder, Pair
from sidecar.models.bi_encoder import LocalBiEncoder
from sidecar.models.contract import ModelContract
from sidecar.models.convert import converted
from sidecar.models.cross_encoder import LocalCrossEncoder
from sidecar.models.foreground import PATIENCE_SECONDS, foreground
from sidecar.models.formats import read_folder
from sidecar.models.hub import find_folder
from sidecar.models.machine import read_machine
from sidecar.models.onnx_runtime import OnnxRuntime
from sidecar.models.openvino_folding import folded_aside
from sidecar.models.openvino_runtime import OpenVinoRuntime
from sidecar.models.runtime import Choice, Runtime
from sidecar.models.runtime_choice import (
    REFERENCE,
    RuntimeChoice,
    TrialRow,
    adopt_choice,
    choices_for,
    choose_runtime,
    holds,
)
from sidecar.models.runtime_choice_file import choice_key, keep_choice, read_choice
from sidecar.models.subject import Outputs, Subject, bi_encoder_subject, cross_encoder_subject
from sidecar.models.token_cache import TokenCache
from sidecar.models.tokenizing import Tokenizer
from sidecar.models.vllm.bi_encoder import VllmBiEncoder
from sidecar.models.vllm.cross_encoder import VllmCrossEncoder
from sidecar.models.vllm.load import attach_bi_encoder, attach_cross_encoder
from sidecar.models.workers import model_workers

_RUNTIMES: dict[str, Callable[[Path, Choice, int], Runtime]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVinoRuntime,
}
Served = TypeVar("Served", VllmBiEncoder, VllmCrossEncoder)
_VLLM = VllmConfig()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model's contract, tokenizer and ONNX files, before a runtime is chosen."""

    contract: ModelContract
    tokenizer: Tokenizer
    onnx: Path
    eight_bit_onnx: Path | None

    def open_runtime(self, choice: Choice, threads: int) -> Runtime:
        """Compiles it. Raises ModelError."""
        path = self.eight_bit_onnx if choice.precision == "int8" else self.onnx
        if path is None:
            raise ModelError(f"{self.contract.name} has no 8-bit ONNX file")
        return _RUNTIMES[choice.runtime](path, choice, threads)

    def open_runtime_aside(self, choice: Choice, threads: int) -> Runtime:
        """The same without holding up the threads of this process. Raises ModelError."""
        if choice.runtime != "openvino" or choice.precision == "int8":
            return self.open_runtime(choice, threads)
        with folded_aside(self.onnx) as folded:
            foreground().wait_quiet(PATIENCE_SECONDS)
            return OpenVinoRuntime(folded, choice, threads)


def load_bi_encoder(
    config: BiEncoderConfig,
    runtime: RuntimeConfig,
    data_dir: Path,
    vllm: VllmConfig = _VLLM,
    like: ModelContract | None = None,
) -> BiEncoder | None:
    """The bi-encoder of a configuration, None if it names none.

    `like`: that of a model which serves and whose place it is to take; then nothing is measured, it
    runs as that one does. Blocks; else the first start of a model on a machine measures for
    `runtime.choice_seconds`. Raises ModelError; ModelRefusedError if it cannot take that place.
    """
    if not config.model:
        return None
    if config.vllm_urls:
        return _checkable(attach_bi_encoder(config, vllm), like)

    def load() -> BiEncoder:
        model = open_model(config.model, config.revision, "bi-encoder", data_dir)
        subject = bi_encoder_subject(model.contract, model.tokenizer, config.batch_size)
        chosen, _ = _serving_runtime(model, subject, runtime, data_dir, like)
        return LocalBiEncoder(model.contract, model.tokenizer, chosen, config)

    return model_workers().submit(load).result()


def load_cross_encoder(
    config: RerankerConfig,
    runtime: RuntimeConfig,
    data_dir: Path,
    token_cache: TokenCache | None = None,
    vllm: VllmConfig = _VLLM,
    like: ModelContract | None = None,
) -> CrossEncoder | None:
    """The cross-encoder of a configuration, None if it names none.

    Models that are given the same `token_cache` do not tokenize a text twice where their tokenizers
    are equal. Else as `load_bi_encoder`.
    """
    if not config.model:
        return None
    if config.vllm_urls:
        return _checkable(attach_cross_encoder(config, vllm), like)

    def load() -> CrossEncoder:
        model = open_model(config.model, config.revision, "cross-encoder", data_dir, token_cache)
        subject = _cross_encoder_subject(model, config, runtime)
        chosen, kept = _serving_runtime(model, subject, runtime, data_dir, like)
        return LocalCrossEncoder(
            model.contract,
            model.tokenizer,
            chosen,
            batch_tokens=config.batch_tokens,
            batch_invariant=kept.batch_invariant,
        )

    return model_workers().submit(load).result()


def choose_runtimes(config: Config, data_dir: Path) -> Iterator[TrialRow]:
    """Measures every configured model anew and keeps the results; rows as they come."""
    bi = config.bi_encoder
    if bi.model:
        model = open_model(bi.model, bi.revision, "bi-encoder", data_dir)
        subject = bi_encoder_subject(model.contract, model.tokenizer, bi.batch_size)
        yield from _measured(model, subject, config.runtime, data_dir)
    for reranker in (config.first_reranker, config.second_reranker):
        if reranker.model:
            model = open_model(reranker.model, reranker.revision, "cross-encoder", data_dir)
            subject = _cross_encoder_subject(model, reranker, config.runtime)
            yield from _measured(model, subject, config.runtime, data_dir)


def close_model(model: BiEncoder | CrossEncoder | None) -> None:
    """Ends what a loaded model keeps open: threads, connections."""
    close = getattr(model, "close", None)
    if close is not None:
        close()


def open_model(
    name: str, revision: str, kind: str, data_dir: Path, token_cache: TokenCache | None = None
) -> OpenedModel:
    """Finds and reads a model, converting it where its weights come only as safetensors."""
    folder, hub_revision = find_folder(name, revision)
    files = read_folder(folder, name, kind, hub_revision)
    onnx, tokenizer = files.onnx, files.tokenizer
    if onnx is None:
        made = converted(files, data_dir)
        onnx, tokenizer = made / "model.onnx", made / "tokenizer.json"
    contract = files.contract
    opened = Tokenizer.open(tokenizer, contract.max_tokens, token_cache)
    return OpenedModel(contract, opened, onnx, files.eight_bit_onnx)


def _checkable(model: Served, like: ModelContract | None) -> Served:
    """A model that is served elsewhere; one that is to take another's place only if its golden
    pairs were compared when it was attached."""
    if like is not None and not model.contract.golden_pairs:
        model.close()
        raise ModelRefusedError("its contract has no golden pairs: it cannot be checked")
    return model


def _cross_encoder_subject(
    model: OpenedModel, config: RerankerConfig, runtime: RuntimeConfig
) -> Subject:
    return cross_encoder_subject(
        model.contract, model.tokenizer, config.batch_tokens, runtime.score_tolerance
    )


def _serving_runtime(
    model: OpenedModel,
    subject: Subject,
    config: RuntimeConfig,
    data_dir: Path,
    like: ModelContract | None,
) -> tuple[Runtime, RuntimeChoice]:
    """The instance that serves: as kept for this machine and still right, else chosen anew; where
    it is to take the place of another model, `like` that one runs."""
    if like is not None:
        return _runtime_like(model, subject, like, config, data_dir)
    kept = read_choice(data_dir, choice_key(read_machine(), model.contract, config))
    if kept is not None:
        runtime = _as_kept(model, subject, kept, _threads(config))
        if runtime is not None:
            _say_untried(model, kept, config, data_dir)
            return runtime, kept
        _log.warning("%s left fp32 on %s: choosing anew", model.contract.name, kept.choice)
    return _chosen_anew(model, subject, config, data_dir)


def _runtime_like(
    model: OpenedModel, subject: Subject, like: ModelContract, config: RuntimeConfig, data_dir: Path
) -> tuple[Runtime, RuntimeChoice]:
    """An instance on which the golden pairs get their scores: as kept, as `like` runs, or in fp32.

    Timing runtimes beside requests would hold these up, and measure them.
    """
    machine = read_machine()
    key = choice_key(machine, model.contract, config)
    keys = (key, choice_key(machine, like, config))
    known = [kept for each in keys if (kept := read_choice(data_dir, each)) is not None]
    choices = [kept.choice for kept in known]
    refusal = ModelRefusedError("")
    for choice in dict.fromkeys([*choices, REFERENCE]):
        try:
            runtime = model.open_runtime_aside(choice, _threads(config))
            adopted = adopt_choice(_between_requests(subject), runtime)
        except ModelError as error:
            refusal = ModelRefusedError(f"on {choice}: {error.message}")
            _log.warning("%s %s", model.contract.name, refusal.message)
            continue
        origin = next((kept for kept in known if kept.choice == choice), adopted)
        adopted = dataclasses.replace(adopted, rows=origin.untried_by(model.contract))
        _keep(data_dir, key, adopted)
        return runtime, adopted
    raise refusal


def _between_requests(subject: Subject) -> Subject:
    """The same, each of whose batches begins when no request is being answered."""

    def outputs_of(runtime: Runtime, inputs: Sequence[Pair]) -> Outputs:
        foreground().wait_quiet(PATIENCE_SECONDS)
        return subject.outputs_of(runtime, inputs)

    return dataclasses.replace(subject, outputs_of=outputs_of)


def _keep(data_dir: Path, key: str, chosen: RuntimeChoice) -> None:
    """A choice that cannot be written down holds all the same: the next start makes it again."""
    try:
        keep_choice(data_dir, key, chosen)
    except StorageError as error:
        _log.warning("the choice of a runtime is not kept: %s", error.message)


def _as_kept(
    model: OpenedModel, subject: Subject, kept: RuntimeChoice, threads: int
) -> Runtime | None:
    """An instance of the kept choice, None if it cannot run or gives other scores."""
    try:
        runtime = model.open_runtime(kept.choice, threads)
        if holds(subject, runtime, kept):
            return runtime
        runtime.close()
    except ModelError as error:
        _log.warning("%s on %s: %s", model.contract.name, kept.choice, error.message)
    return None


def _chosen_anew(
    model: OpenedModel, subject: Subject, config: RuntimeConfig, data_dir: Path
) -> tuple[Runtime, RuntimeChoice]:
    machine, threads = read_machine(), _threads(config)
    choices = choices_for(config, machine, has_eight_bit=_may_run_eight_bit(model, config))
    chosen, runtime = choose_runtime(
        subject, choices, lambda c: model.open_runtime(c, threads), config.choice_seconds
    )
    _keep(data_dir, choice_key(machine, model.contract, config), chosen)
    _say_untried(model, chosen, config, data_dir)
    return runtime, chosen


def _say_untried(
    model: OpenedModel, chosen: RuntimeChoice, config: RuntimeConfig, data_dir: Path
) -> None:
    """Another way of running it may be faster than the one that serves."""
    if not chosen.untried:
        return
    _log.warning(
        "%s runs on %s, the best of what was tried before the time was up; not tried: %s. `sidecar "
        "calibrate --data %s`, with the server's --config, measures all: the next start takes the "
        "best. Time at a first start: runtime.choice_seconds (now %g)",
        model.contract.name,
        chosen.choice,
        ", ".join(map(str, chosen.untried)),
        data_dir,
        config.choice_seconds,
    )


def _measured(
    model: OpenedModel, subject: Subject, config: RuntimeConfig, data_dir: Path
) -> tuple[TrialRow, ...]:
    runtime, chosen = (
        model_workers().submit(_chosen_anew, model, subject, config, data_dir).result()
    )
    runtime.close()
    return chosen.rows


def _may_run_eight_bit(model: OpenedModel, config: RuntimeConfig) -> bool:
    """There is an 8-bit file, and the contract says that it holds or the configuration wants it."""
    wanted = model.contract.eight_bit_holds or config.precision == "int8"
    return model.eight_bit_onnx is not None and wanted


def _threads(config: RuntimeConfig) -> int:
    return config.threads or read_machine().threads
