"""The command line of each vLLM server that the sidecar starts."""

from __future__ import annotations

import json
import logging
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.config import Config, VllmConfig
from sidecar.errors import ConfigurationError, ModelError
from sidecar.models.vllm.folder import ServedFolder, read_served_folder
from sidecar.models.vllm.template import DECODER_OVERRIDES, template_file

# Not `vllm serve`: it looks for a distribution of its own name, which that for the CPU has not.
MODULE = "vllm.entrypoints.openai.api_server"
SECTIONS = {
    "bi_encoder": "bi-encoder",
    "first_reranker": "cross-encoder",
    "second_reranker": "cross-encoder",
}
_WHOLE_CARD = 0.9  # shares that are not configured are equal parts of this
_LONGEST_INPUT = 8192
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start the server of one model; `section` is that of the configuration, `share` that of
    the card."""

    section: str
    model: str
    url: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    share: float = 0.0


def plan_launches(config: Config) -> list[Launch]:
    """One for each configured model without servers of its own whose folder has weights for vLLM.

    The others run in this process, as without vLLM. Raises ModelError, ConfigurationError.
    """
    folders = {}
    for section, kind in SECTIONS.items():
        model = getattr(config, section)
        if not model.model or model.vllm_urls:
            continue
        folder = read_served_folder(model.model, model.revision, kind)
        if folder.has_weights:
            folders[section] = folder
        else:
            _log.warning(
                "%s runs in this process: %s has no *.safetensors, which vLLM loads "
                "(sidecar-train to-transformers writes them for a carried model)",
                model.model,
                folder.path,
            )
    if not folders:
        raise ConfigurationError(
            "vllm.start: no configured model is for vLLM: give a rerank stage or the bi-encoder a "
            "folder or hub name with *.safetensors, or serve without --gpu"
        )
    shares = memory_shares({name: getattr(config.vllm, f"{name}_memory") for name in folders})
    return [_launch(name, folder, shares[name], config.vllm) for name, folder in folders.items()]


def plan_launch_beside(launch: Launch, model: str, config: VllmConfig) -> Launch:
    """A further server with the model in a folder, like one that runs. Raises ModelError."""
    folder = read_served_folder(model, "", SECTIONS[launch.section])
    if not folder.has_weights:
        raise ModelError(f"{folder.path} has no *.safetensors, which vLLM loads")
    return _launch(launch.section, folder, launch.share, config)


def memory_shares(configured: Mapping[str, float]) -> dict[str, float]:
    """The share of the card that each server takes; 0 is an equal part of what is left."""
    given = sum(configured.values())
    open_shares = sum(1 for share in configured.values() if not share)
    if given > 1.0 or any(share < 0 for share in configured.values()):
        raise ConfigurationError(f"vllm.*_memory: the shares are {given:g} in sum: give at most 1")
    if open_shares and given >= _WHOLE_CARD:
        raise ConfigurationError(f"vllm.*_memory: {given:g} leaves nothing for {open_shares} more")
    equal = (_WHOLE_CARD - given) / open_shares if open_shares else 0.0
    return {name: share or round(equal, 3) for name, share in configured.items()}


def server_options(folder: ServedFolder, share: float, config: VllmConfig) -> dict[str, str]:
    """The options of one server, host and port left out. Raises ModelError."""
    longest = min(config.max_model_len or _LONGEST_INPUT, folder.contract.max_tokens)
    options = {
        "--model": str(folder.path.resolve()),
        "--served-model-name": folder.contract.name,
        "--runner": "pooling",
        "--dtype": config.dtype,
        "--max-model-len": str(longest),
        "--max-num-batched-tokens": str(max(longest, config.max_num_batched_tokens)),
        "--gpu-memory-utilization": f"{share:g}",
    }
    if folder.contract.kind == "cross-encoder" and folder.is_decoder:
        options["--chat-template"] = str(template_file(config.chat_template).resolve())
        if folder.is_causal:
            options["--hf-overrides"] = json.dumps(_overrides(folder))
    return options


def _overrides(folder: ServedFolder) -> dict[str, object]:
    if folder.architecture != "Qwen3ForCausalLM":
        raise ModelError(
            f"{folder.contract.name} is a {folder.architecture}: of causal language models only "
            "Qwen3 is started as a reranker; start vLLM for it yourself and give its vllm_urls"
        )
    return DECODER_OVERRIDES


def _launch(section: str, folder: ServedFolder, share: float, config: VllmConfig) -> Launch:
    port = _free_port()
    options = server_options(folder, share, config)
    command = (
        config.python or sys.executable,
        "-m",
        MODULE,
        *(word for option in options.items() for word in option),
        *("--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"),
        *shlex.split(config.extra_arguments),
    )
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **os.environ}
    if "--enable-lora" in command:
        environment.setdefault("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True")
    if config.api_key:
        environment["VLLM_API_KEY"] = config.api_key
    url = f"http://127.0.0.1:{port}"
    return Launch(section, folder.contract.name, url, command, environment, share)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
