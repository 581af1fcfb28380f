"""One stage a file, each with `run(work)` and STAGE, all that is to know of it; in this order:

    collect -> propensity -> label -> for each model: mine -> teach -> train -> export -> evaluate
    -> gate -> publish

A model is exported before it is evaluated: what is measured, and judged by the gate, is what would
be served.
"""

from training.stages import (
    collect,
    evaluate,
    export,
    gate,
    label,
    mine,
    propensity,
    publish,
    teach,
    train,
)

SHARED = tuple(each.STAGE for each in (collect, propensity, label))
PER_MODEL = tuple(each.STAGE for each in (mine, teach, train, export, evaluate, gate, publish))
STAGES = {stage.name: stage for stage in (*SHARED, *PER_MODEL)}
