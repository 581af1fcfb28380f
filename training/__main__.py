"""`sidecar-train`, or `python -m training`: what users did goes in, a better model comes out.

Exit codes: 0 done; 1 failed; 2 wrong arguments, configuration or input; 10 the gate refused a
model, and the run says why.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigurationError, InputFileError, InvalidFieldError, SidecarError
from training.config import MODELS, TrainingConfig, to_tree
from training.config_file import describe_training_config, load_training_config
from training.doctor.examination import examine
from training.doctor.findings import stops
from training.explain import explain, to_lines
from training.explain import to_tree as explained_tree
from training.first_config import for_judged, for_log
from training.foresight import foreseen
from training.run import plan, run_steps
from training.run_folders import folder_of, has_run, where_else
from training.smoke import OVERRIDES as SMOKE
from training.stage import Step, read_manifest
from training.stages import STAGES
from training.synthetic import command as generate

DONE, FAILED, WRONG, REFUSED = 0, 1, 2, 10


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    given = _parser().parse_args(arguments)
    # Read when torch is loaded. Threads that spin while they wait take the cores from a sidecar, or
    # from anything else, that shares them, and are then waited for themselves.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        code: int = given.run(given)
        return code
    except SidecarError as error:
        print(f"sidecar-train: {error.message}", file=sys.stderr)
        wrong = isinstance(error, ConfigurationError | InputFileError | InvalidFieldError)
        return WRONG if wrong else FAILED
    except KeyboardInterrupt:
        print("\nsidecar-train: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sidecar-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _command(commands, "run", "all stages, those that are done not again", _run)
    run.add_argument("--until", choices=STAGES, help="the last stage to run")
    run.add_argument(
        "--dry-run", action="store_true", help="say which stages would run, and which are kept"
    )
    run.add_argument(
        "--smoke",
        action="store_true",
        help="a few steps over few queries, to see that it works; nothing is published",
    )
    for name, stage in STAGES.items():
        _command(commands, name, stage.about, _run_stage)
    _command(commands, "status", "what has been done, with its figures", _status)
    explained = _command(commands, "explain", "all that a run knows of one query", _explain)
    explained.add_argument("--query", required=True, metavar="TEXT|ID", help="whose")
    _command(commands, "doctor", "what would stop the run, and what to do", _doctor)
    generated = commands.add_parser("generate", help="labelled samples that are made up")
    generate.add_arguments(generated)
    generated.set_defaults(run=generate.run)
    shown = "the resolved configuration, as JSON; or one to begin with, as TOML"
    config = _command(commands, "config", shown, _print_config, nargs="?")
    config.add_argument("--log", type=Path, metavar="FEEDBACK", help="to begin with, of a log")
    config.add_argument("--judged", metavar="SET", help="to begin with, of a BEIR folder")
    keys = commands.add_parser("keys", help="every key of the configuration, in Markdown")
    keys.set_defaults(run=_print_keys)
    written = commands.add_parser(
        "to-transformers", help="write a carried model as transformers loads it"
    )
    written.add_argument("folder", type=Path)
    written.add_argument("out", type=Path)
    written.set_defaults(run=_to_transformers)
    return parser


def _command(
    commands: Any, name: str, about: str, run: Any, nargs: str | None = None
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    command.add_argument("config", type=Path, nargs=nargs, help="TOML (see the README)")
    command.add_argument("--out", type=Path, help="the run's folder (runs/NAME of the TOML file)")
    command.add_argument("--model", choices=MODELS, help="only this one (both)")
    command.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help='in place of what the file says; again for more; a list is a,b or ["a", "b"]',
    )
    command.add_argument("--json", action="store_true", help="print figures as JSON at the end")
    command.set_defaults(run=run)
    return command


def _run(given: argparse.Namespace) -> int:
    if given.smoke:
        _make_small(given)
    config, root, steps = _planned(given)
    if given.until:
        names = list(STAGES)
        steps = [s for s in steps if names.index(s.stage.name) <= names.index(given.until)]
    if given.dry_run:
        for step, fate in foreseen(steps, config, root):
            print(f"{step.place}: {fate} ({step.stage.about})")
        return DONE
    code = _told(given, steps, run_steps(steps, config, root))
    return DONE if given.smoke else code


def _make_small(given: argparse.Namespace) -> None:
    """A run of its own, in which nothing is published and whose verdicts mean nothing."""
    given.overrides = [*SMOKE, *given.overrides]
    given.out = given.out or folder_of(given.config, smoke=True)
    given.until = given.until or "gate"


def _run_stage(given: argparse.Namespace) -> int:
    config, root, steps = _planned(given)
    chosen = [step for step in steps if step.stage.name == given.command]
    if not chosen:
        raise ConfigurationError(f"{given.config} asks for no stage {given.command}")
    return _told(given, chosen, run_steps(chosen, config, root))


def _status(given: argparse.Namespace) -> int:
    _, root, steps = _planned(given)
    if not has_run(root):
        print(f"sidecar-train: {root}: {where_else(root)}", file=sys.stderr)
    manifests = {step.place: read_manifest(root / step.place) for step in steps}
    if given.json:
        print(json.dumps({place: found and found["figures"] for place, found in manifests.items()}))
        return DONE
    for place, found in manifests.items():
        told = "not done" if found is None else f"{found['seconds']:.0f} s  {found['figures']}"
        print(f"{place:24s}{told}")
    return DONE


def _explain(given: argparse.Namespace) -> int:
    root = given.out or folder_of(given.config)
    told = explain(_config(given), root, given.query)
    print(json.dumps(explained_tree(told)) if given.json else "\n".join(to_lines(told)))
    return DONE


def _doctor(given: argparse.Namespace) -> int:
    config = _config(given)
    findings = list(examine(config, given.out or folder_of(given.config)))
    if given.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    else:
        print("\n".join(map(str, findings)))
    return FAILED if stops(findings) else DONE


def _print_config(given: argparse.Namespace) -> int:
    if sum(one is not None for one in (given.config, given.log, given.judged)) != 1:
        raise ConfigurationError("give a TOML file, --log FEEDBACK or --judged SET, one of them")
    if given.config:
        print(json.dumps(to_tree(_config(given)), indent=2))
    else:
        print(for_log(given.log) if given.log else for_judged(given.judged), end="")
    return DONE


def _print_keys(given: argparse.Namespace) -> int:
    print(configuration_table())
    return DONE


def configuration_table() -> str:
    """Key, default, what it is: as the README shows it."""
    rows = ["| key | default | what it is |", "|---|---|---|"]
    for key, default, sentence in describe_training_config():
        rows.append(f"| `{key}` | `{default}` | {sentence} |")
    return "\n".join(rows)


def _to_transformers(given: argparse.Namespace) -> int:
    # torch takes seconds to import: only once the arguments are known to be right.
    from training.fine_tuning.quiet import quiet_libraries
    from training.graphs.transformers_format import write_transformers_format

    with quiet_libraries():
        write_transformers_format(given.folder, given.out)
    return DONE


def _planned(given: argparse.Namespace) -> tuple[TrainingConfig, Path, list[Step]]:
    config = _config(given)
    root = given.out or folder_of(given.config)
    steps = [step for step in plan(config) if not given.model or step.model in ("", given.model)]
    return config, root, steps


def _config(given: argparse.Namespace) -> TrainingConfig:
    return load_training_config(given.config, given.overrides)


def _told(given: argparse.Namespace, steps: list[Step], manifests: list[dict[str, Any]]) -> int:
    """Prints what was asked for; the exit code of what came out."""
    figures = {step.place: made["figures"] for step, made in zip(steps, manifests, strict=True)}
    if given.json:
        print(json.dumps(figures))
    refused = [place for place, told in figures.items() if told.get("verdict") == "refused"]
    for place in refused:
        print(f"{place}: refused: {figures[place]['reason']}", file=sys.stderr)
    return REFUSED if refused else DONE


if __name__ == "__main__":
    raise SystemExit(main())
