"""One stage a file, each with `run(work)`; in the order they run:

    collect -> propensity -> label -> for each model: mine -> teach -> train -> export -> evaluate
    -> gate -> publish

A model is exported before it is evaluated: what is measured, and judged by the gate, is what would
be served.
"""

from training.stage import Stage

SHARED = (
    Stage("collect", "reads logs and labelled examples, filters, splits", ("collect", "sidecar")),
    Stage("propensity", "estimates how likely each rank was looked at", ("propensity",)),
    Stage("label", "turns events into grades, gains and weights", ("label",)),
)
PER_MODEL = (
    Stage(
        "mine",
        "adds hard negatives from the sidecar's recall",
        ("sidecar", "{model}.mine", "{model}.base"),
    ),
    Stage("teach", "lets a teacher score the candidates", ("{model}.teacher",)),
    Stage("train", "fine-tunes", ("{model}",)),
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
            *("publish.registry", "publish.bi_encoder", "publish.reranker"),  # what production is
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
