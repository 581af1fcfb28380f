"""`sidecar models ...`: the models of a running sidecar, and versions of the registry.

`publish` writes into a registry, without a server; the others ask a running one.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import grpc

from sidecar.commands.connection import connect
from sidecar.commands.places import cache_folder
from sidecar.config_file import load_config
from sidecar.errors import ConfigurationError
from sidecar.models.contract import CONTRACT_FILE, read_contract
from sidecar.storage.alias_moves import moves_of_promotion
from sidecar.storage.registry import Registry, open_registry
from sidecar.v1 import model_pb2, model_pb2_grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
_ROLES = {
    model_pb2.MODEL_ROLE_BI_ENCODER: "bi-encoder",
    model_pb2.MODEL_ROLE_FIRST_RERANKER: "first reranker",
    model_pb2.MODEL_ROLE_SECOND_RERANKER: "second reranker",
}
_PHASES = {
    model_pb2.CHANGE_PHASE_FETCHING: "fetching its files",
    model_pb2.CHANGE_PHASE_LOADING: "loading it beside the one that serves",
    model_pb2.CHANGE_PHASE_CHECKING: "warming it up",
    model_pb2.CHANGE_PHASE_ENCODING: "encoding the documents",
    model_pb2.CHANGE_PHASE_FLIPPED: "it serves",
}
Change = model_pb2.ModelChange
Parser = argparse.ArgumentParser
Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Act = Callable[[argparse.Namespace], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add(actions, "list", "the models that serve, and the versions the registry has", _list)
    describe = _add(actions, "describe", "one version, whole", _describe, "MODEL")
    describe.add_argument("version", metavar="VERSION", nargs="?", default="")
    _add_publish(actions)
    _add(actions, "activate", "make a version serve", _activate, "MODEL", "VERSION")
    canary = _add(
        actions, "canary", "make a version serve some sessions", _canary, "MODEL", "VERSION"
    )
    canary.add_argument("--share", type=float, help="share of sessions")
    canary.add_argument("--interleaved", type=float, help="share with rankings of both")
    _add(actions, "promote", "make the canary serve all sessions", _promote, "MODEL")
    _add(actions, "stop-canary", "take the canary away", _stop_canary, "MODEL")
    _add(actions, "rollback", "make the previous version serve again", _roll_back, "MODEL")
    _add(actions, "compare", "how canary and production compare", _compare, "MODEL")


def run(arguments: argparse.Namespace) -> int:
    """Runs one action."""
    arguments.act(arguments)
    return 0


def _add(actions: Actions, name: str, sentence: str, act: Act, *words: str) -> Parser:
    parser = actions.add_parser(name, help=sentence, description=sentence)
    for word in words:
        parser.add_argument(word.lower(), metavar=word)
    if name != "publish":
        parser.add_argument("--on", metavar="ADDRESS", default=DEFAULT_ADDRESS, help="HOST:PORT")
    parser.set_defaults(act=act)
    return parser


def _add_publish(actions: Actions) -> None:
    sentence = "copy a model folder into a registry as a new version"
    parser = _add(actions, "publish", sentence, _publish, "FOLDER", "MODEL")
    parser.add_argument(
        "--registry", metavar="URL", help="folder or address (registry.url of the configuration)"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration in TOML")
    parser.add_argument("--version", metavar="VERSION", help="its name (the next number)")
    parser.add_argument(
        "--production", action="store_true", help="point the alias production to it, too"
    )


def _publish(arguments: argparse.Namespace) -> None:
    folder, model = Path(arguments.folder), arguments.model
    read_contract(folder / CONTRACT_FILE)  # says what is wrong with it, if anything is
    registry = _open_registry(arguments)
    origin = {"published_by": os.environ.get("USER", "")}
    version = registry.publish(folder, model, arguments.version, origin)
    if arguments.production:
        found = registry.aliases(model)
        registry.move_aliases(model, moves_of_promotion(found, version), found)
        if "production" in found:
            print(
                f"{model} {version} is production now, and was checked by no server: restarts and "
                "servers that follow serve it; `sidecar models activate` checks first",
                file=sys.stderr,
            )
    print(f"{model} {version} ({registry.describe(model, version).revision})")


def _open_registry(arguments: argparse.Namespace) -> Registry:
    config = load_config(arguments.config).registry
    if arguments.registry:
        config = dataclasses.replace(config, url=arguments.registry)
    if not config.url:
        raise ConfigurationError("which registry? give --registry, or registry.url in --config")
    return open_registry(config, cache_folder())


def _list(arguments: argparse.Namespace) -> None:
    with connect(arguments.on) as channel:
        found = _stub(channel).ListModels(model_pb2.ListModelsRequest())
    for model in found.models:
        canary = f", canary {model.canary_revision}" if model.canary_revision else ""
        name = model.registry_model or "not of the registry"
        print(f"{_ROLES[model.role]}: {model.model} {model.revision}{canary} ({name})")
        for version in model.versions:
            when = version.published.ToDatetime().strftime("%Y-%m-%d %H:%M")
            aliases = ", ".join(version.aliases)
            print(f"  {version.version:<12} {when}  {version.revision:<24} {aliases}".rstrip())
    if found.canary_share or found.interleaved_share:
        shares = f"{found.canary_share:g} alone, {found.interleaved_share:g} interleaved"
        print(f"canary's share of sessions: {shares}")
    if found.HasField("change"):
        print(f"under way: {found.change.model} {found.change.version}, {_in_words(found.change)}")
    if found.last_intervention:
        print(f"last intervention: {found.last_intervention}")


def _describe(arguments: argparse.Namespace) -> None:
    request = model_pb2.DescribeModelRequest(model=arguments.model, version=arguments.version)
    with connect(arguments.on) as channel:
        print(_stub(channel).DescribeModel(request).contract_json)


def _activate(arguments: argparse.Namespace) -> None:
    request = model_pb2.ActivateModelRequest(model=arguments.model, version=arguments.version)
    with connect(arguments.on) as channel:
        _follow(response.change for response in _stub(channel).ActivateModel(request))


def _canary(arguments: argparse.Namespace) -> None:
    if arguments.share is None and arguments.interleaved is None:
        raise ConfigurationError("give --share or --interleaved; --share 0 loads it and no more")
    request = model_pb2.StartCanaryRequest(
        model=arguments.model,
        version=arguments.version,
        share=arguments.share or 0.0,
        interleaved_share=arguments.interleaved or 0.0,
    )
    with connect(arguments.on) as channel:
        _follow(response.change for response in _stub(channel).StartCanary(request))


def _roll_back(arguments: argparse.Namespace) -> None:
    request = model_pb2.RollBackModelRequest(model=arguments.model)
    with connect(arguments.on) as channel:
        _follow(response.change for response in _stub(channel).RollBackModel(request))


def _promote(arguments: argparse.Namespace) -> None:
    request = model_pb2.PromoteCanaryRequest(model=arguments.model)
    with connect(arguments.on) as channel:
        version = _stub(channel).PromoteCanary(request).version
    print(f"{arguments.model} {version} serves all sessions")


def _stop_canary(arguments: argparse.Namespace) -> None:
    request = model_pb2.StopCanaryRequest(model=arguments.model)
    with connect(arguments.on) as channel:
        version = _stub(channel).StopCanary(request).version
    print(f"{arguments.model} {version} is no canary any more")


def _compare(arguments: argparse.Namespace) -> None:
    request = model_pb2.CompareModelsRequest(model=arguments.model)
    with connect(arguments.on) as channel:
        found = _stub(channel).CompareModels(request)
    print("            version       answers  failed    p50 ms    p99 ms")
    for name, seen in (("production", found.production), ("canary", found.canary)):
        times = f"{seen.p50_milliseconds:>9.1f} {seen.p99_milliseconds:>9.1f}"
        head = f"{name:<11} {seen.version:<12} {seen.answers:>8}"
        print(f"{head} {seen.failure_share:>7.2%} {times}")
    print(f"sessions: {found.canary_wins} prefer the canary, {found.production_wins} production,")
    print(f"          {found.ties} neither")
    if found.HasField("preference"):
        interval = f"{found.preference_lower:.3f} to {found.preference_upper:.3f}"
        print(f"share that prefers the canary: {found.preference:.3f} ({interval})")
    print(f"winner: {found.winner or 'not known yet'}")


def _stub(channel: grpc.Channel) -> model_pb2_grpc.ModelServiceStub:
    return model_pb2_grpc.ModelServiceStub(channel)


def _follow(changes: Iterable[Change]) -> None:
    """Prints each step as it comes; while encoding, one line that is written over on a terminal."""
    ending = "\r" if sys.stdout.isatty() else "\n"
    for change in changes:
        is_last = change.phase != model_pb2.CHANGE_PHASE_ENCODING
        line = f"{change.model} {change.version}: {_in_words(change)}"
        print(line, end="\n" if is_last else ending, flush=True)


def _in_words(change: Change) -> str:
    if change.phase == model_pb2.CHANGE_PHASE_ENCODING:
        return f"{_PHASES[change.phase]}, {change.done} of {change.total}"
    if change.phase == model_pb2.CHANGE_PHASE_FLIPPED and change.canary:
        return "it serves its share of the sessions"
    return _PHASES.get(change.phase, "under way")
