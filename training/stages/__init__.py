"""One stage a file, each with `run(work)`; in the order they run:

    collect -> propensity -> label -> for each model: mine -> teach -> train -> export -> evaluate
    -> gate -> publish

A model is exported before it is evaluated: what is measured, and judged by the gate, is what would
be served.
"""

from training.stage import Stage

# What tells which models are in production.
_PRODUCTION = ("publish.registry", "publish.bi_encoder", "publish.reranker")
SHARED = (
    Stage("collect", "reads logs and labelled examples, filters, splits", ("collect", "sidecar")),
    Stage("propensity", "estimates how likely each rank was looked at", ("propensity",)),
    Stage("label", "turns events into grades, gains and weights", ("label",)),
)
PER_MODEL = (
    Stage(
        "mine",
        "adds hard negatives from the sidecar's recall",
        ("sidecar", "{model}.mine", "{model}.base", "{model}.role", *_PRODUCTION),
    ),
    Stage(
        "teach",
        "lets a teacher score the candidates",
        ("{model}.teacher", "{model}.mine.teacher_margin", "publish.registry"),
    ),
    Stage("train", "fine-tunes", ("{model}", "publish.registry", "publish.{model}")),
    Stage(
        "export",
        "merges, writes the folders that serve, checks them",
        ("export", "{model}", "sidecar.configuration", "publish.registry", "publish.{model}"),
    ),
    Stage(
        "evaluate",
        "measures candidate, production and baselines",
        (
            *("evaluate", "{model}", "sidecar.configuration"),
            *_PRODUCTION,
        ),
    ),
    Stage("gate", "says whether the candidate may be published, or why not", ("gate",)),
    Stage(
        "publish",
        "brings an accepted model into the registry and the sidecar",
        ("publish", "sidecar"),
    ),
)
STAGES = {stage.name: stage for stage in (*SHARED, *PER_MODEL)}
