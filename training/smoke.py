"""`sidecar-train run --smoke`: the whole way in a minute or two, to see that it is one.

A few steps over few queries, measured on few; the run ends before anything is published, and the
gate's verdicts mean nothing.
"""

from __future__ import annotations

STEPS = 20
OVERRIDES = (
    *(
        f"{model}.{key}"
        for model in ("bi_encoder", "reranker")
        for key in (
            f"max_steps={STEPS}",
            "lists_per_step=8",
            "evaluations=2",
            "base_shares=0.0",
            "mine.most_queries=200",
            "mine.depth=30",
            "mine.last_rank=30",
        )
    ),
    "evaluate.most_queries=30",
    "evaluate.latency_requests=20",
    "export.parity_pairs=20",
)
