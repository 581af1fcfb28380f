"""A version that is an adapter (LoRA): the vLLM server of its base loads it while it serves.

Its folder has `adapter_config.json` and `adapter_model.safetensors`, its base's `config.json` and
`tokenizer.json`, and in `contract.json`, beside the rest, "adapter_of": the base's revision.
Servers need --enable-lora, VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and the folder at the same path.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import ModelError
from sidecar.models.contract import CONTRACT_FILE, ModelContract
from sidecar.models.vllm.client import Fault, ServerFault, VllmServer
from sidecar.models.vllm.replicas import WrongScoresError

ADAPTER_FILE = "adapter_config.json"
_LOADED_ALREADY = "already been loaded"


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a server is told of an adapter."""

    name: str
    path: Path

    async def load(self, server: VllmServer) -> None:
        """Has a server load it. Raises WrongScoresError where that one does not take adapters, or
        not this one; ServerFault."""
        try:
            await server.load_adapter(self.name, str(self.path))
        except ServerFault as fault:
            if fault.fault is not Fault.REFUSED:
                raise
            if _LOADED_ALREADY not in fault.message:
                raise WrongScoresError(
                    f"it does not take the adapter ({fault.message}): start it with --enable-lora "
                    "and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, for a family that has adapters"
                ) from fault


def read_adapter(folder: Path, contract: ModelContract) -> Adapter | None:
    """The adapter in a folder, None if the folder holds a whole model."""
    if not is_adapter(folder):
        return None
    return Adapter(f"{contract.name}@{contract.revision}", folder.resolve())


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / ADAPTER_FILE).is_file()


def base_of(folder: Path) -> str:
    """The revision of the model that an adapter was made for. Raises ModelError."""
    path = folder / CONTRACT_FILE
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["adapter_of"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f'{path} does not say what it is "adapter_of" ({error!r})') from error
