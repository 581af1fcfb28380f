"""The prompt of a decoder reranker: a text with {query} and {passage} in it, kept with the model.

The one that serves is a Jinja file which vLLM renders (sidecar/models/vllm); rendered once with
placeholders, it is what training reads and what the contract has, with its digest. The two prompts
that were published with Qwen3-Reranker differ by a line break, and scores with them do, too.
"""

from __future__ import annotations

from pathlib import Path

import jinja2.sandbox

from sidecar.errors import ModelError

QUERY, PASSAGE = "{query}", "{passage}"


def prompt_of(template: Path) -> str:
    """The prompt of a Jinja file, rendered as vLLM does. Raises ModelError."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    try:
        made = environment.from_string(template.read_text(encoding="utf-8"))
        prompt: str = made.render(
            messages=[
                {"role": "query", "content": QUERY},
                {"role": "document", "content": PASSAGE},
            ]
        )
    except (OSError, jinja2.TemplateError) as error:
        raise ModelError(f"{template} is no template of a reranker: {error}") from error
    check_prompt(prompt, str(template))
    return prompt


def check_prompt(prompt: str, where: str) -> None:
    """Raises ModelError unless it names both texts once, the query first."""
    if prompt.count(QUERY) != 1 or prompt.count(PASSAGE) != 1:
        raise ModelError(f"{where}: a prompt has {QUERY} and {PASSAGE} in it, each once")
    if prompt.index(QUERY) > prompt.index(PASSAGE):
        raise ModelError(f"{where}: the query comes after the passage, which is not supported")


def filled(prompt: str, query: str, passage: str) -> str:
    """The prompt with its two texts, whatever braces these have."""
    before, _, rest = prompt.partition(QUERY)
    middle, _, after = rest.partition(PASSAGE)
    return f"{before}{query}{middle}{passage}{after}"
