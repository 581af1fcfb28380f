"""A model that is configured with `vllm_urls` -> an encoder that asks those servers."""

from __future__ import annotations

from sidecar.config import BiEncoderConfig, RerankerConfig, VllmConfig
from sidecar.models.vllm.attachment import split_urls
from sidecar.models.vllm.bi_encoder import VllmBiEncoder
from sidecar.models.vllm.cross_encoder import VllmCrossEncoder
from sidecar.models.vllm.folder import read_served_folder


def attach_cross_encoder(config: RerankerConfig, vllm: VllmConfig) -> VllmCrossEncoder:
    """The cross-encoder of a rerank stage. Blocks. Raises ModelError, ConfigurationError."""
    folder = read_served_folder(config.model, config.revision, "cross-encoder")
    return VllmCrossEncoder(folder, split_urls(config.vllm_urls), vllm)


def attach_bi_encoder(config: BiEncoderConfig, vllm: VllmConfig) -> VllmBiEncoder:
    """The bi-encoder. Blocks. Raises ModelError, ConfigurationError."""
    folder = read_served_folder(config.model, config.revision, "bi-encoder")
    return VllmBiEncoder(folder, split_urls(config.vllm_urls), config, vllm)
