"""Learn from preferences behind one finished run: open its record and run its parts."""

import functools
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from architectures.interface import Unsupported
from bench.config.dependencies import reward_run
from bench.config.schema import Run, resolve_learning_rate
from bench.data import prepare
from bench.model import LanguageModel
from bench.records import store
from bench.records.finished import FinishedRun, training_speed
from bench.records.metrics import Metric
from bench.records.source import training_source
from bench.system import host
from bench.system.processes import announce_estimate
from bench.tasks.preferences.costs import keeps_state, part_costs
from bench.tasks.preferences.label_facts import describe_labels, label_warnings
from bench.tasks.preferences.part_store import PartStore, metric_from_json
from bench.tasks.preferences.parts import StagePart, list_parts
from bench.tasks.preferences.peoples_world import PeoplesWorld
from bench.tasks.preferences.policies import PolicyDiverged
from bench.tasks.preferences.stage import PartFailed, Rates, Stage
from bench.tasks.preferences.worlds import SimulatedWorld, World
from bench.training import TrainedModel, load

logger = logging.getLogger(__name__)
Progress = Callable[[str], None]
show_progress: Progress = functools.partial(logger.info, extra={"progress": True})


def learn(
    run: Run, bases: Mapping[str, FinishedRun], folder: Path, progress: Progress = show_progress
) -> None:
    """Run the parts that are missing in the folder of a run, and write its result.

    `bases` has the run to start from as `base`, and as `reward` that of another architecture's
    reward models. Raise UserError where nothing can begin, Unsupported where the architecture
    cannot learn so.
    """
    trained = {role: load(base.folder) for role, base in bases.items()}
    for model in trained.values():
        check_supported(model)
    base, reward = trained["base"].model, trained.get("reward", trained["base"]).model
    report_cost(replace(trained["base"], run=run))
    world, labels = open_world(run, trained["base"])
    store.add_provenance(folder, {"data": world.digest}, {})
    remove_other_parts(folder, run, bases, world)
    write_labels(folder, world)
    stage = Stage(base, reward, learning_rates(run), world, PartStore(folder), progress)
    parts = list_parts(run.preference, run.seed, labels)
    run_parts(stage, parts, bases["base"])
    write_result(folder, stage.store, parts, world_facts(world))


def run_parts(stage: Stage, parts: Sequence[StagePart], base: FinishedRun) -> None:
    """Run the parts that have not ended yet."""
    estimates = dict(part_seconds(stage.world.run, base, stage.base))
    for part in parts:
        announce_estimate(estimates[part.name])
        run_part(stage, part)


def part_seconds(run: Run, base: FinishedRun, model: LanguageModel) -> Iterator[tuple[str, float]]:
    """Yield how long each part takes, about: infinite where its base trained on another machine."""
    environment = store.read_json(base.folder / "environment.json") or {}
    is_here = environment.get("machine") == host.machine_digest()
    speed = training_speed(base.folder) if is_here else 0.0
    for part, tokens in part_costs(run, keeps_state(model)):
        yield part.name, tokens / speed if speed else math.inf


def write_labels(folder: Path, world: World) -> None:
    """Write what was labelled, in order."""
    rows = [json.dumps(row, ensure_ascii=False) + "\n" for row in world.label_rows()]
    store.write_text(folder / "labels.jsonl", "".join(rows))


def learning_rates(run: Run) -> Rates:
    """Return a share of each model's own rate, where the configuration gives no rate."""
    options, other = run.preference, reward_run(run)
    policy, reward = (
        options.rate_share * resolve_learning_rate(one) for one in (run, other or run)
    )
    return Rates(options.policy.learning_rate or policy, options.reward.learning_rate or reward)


def remove_other_parts(
    folder: Path, run: Run, bases: Mapping[str, FinishedRun], world: World
) -> None:
    """Remove the parts that an earlier start left, where sources, weights or labels were others."""
    origin = {
        "source": training_source(str(run.arch.get("_target_", ""))),
        "weights": {role: base.weights_sha256 for role, base in bases.items()},
        "data": world.digest,
    }
    path = folder / "parts" / "origin.json"
    if store.read_json(path) != origin:
        shutil.rmtree(path.parent, ignore_errors=True)
        store.write_json(path, origin)


def check_supported(trained: TrainedModel) -> None:
    """Raise Unsupported for an architecture that writes nothing from left to right."""
    if not trained.model.backbone.causal:
        name = trained.run.names["arch"]
        raise Unsupported(
            f"{name} is an encoder: it writes nothing from left to right, so there is no policy "
            "to improve"
        )
    if not trained.vocabulary.text:
        raise Unsupported(f"data={trained.run.names['data']} is not text: no reward reads it")


def report_cost(trained: TrainedModel) -> None:
    """Log what writing costs where the architecture keeps no state."""
    try:
        trained.model.init_state(1, trained.run.size.context)
    except Unsupported as reason:
        room = trained.run.preference.response
        logger.info(f"{reason}: a response takes {room} forward passes over its text")


def open_world(run: Run, trained: TrainedModel) -> tuple[World, int]:
    """Return what a stage learns from, and the labels of its main reward model."""
    options, corpus = run.preference, prepare(run.data, run.names["data"])
    if options.path:
        people = PeoplesWorld(run, corpus)
        report_labels(people)
        return people, options.labels or len(people.trained)
    return SimulatedWorld(run, corpus, trained.model, options.pool), options.labels


def report_labels(people: PeoplesWorld) -> None:
    """Log what a user should know of the labels."""
    for line in label_warnings(describe_labels([*people.trained, *people.held])):
        logger.warning(line)
    if people.cut_pairs:
        total = len(people.trained) + len(people.held)
        context = people.run.size.context
        logger.warning(
            f"{people.cut_pairs:,} of {total:,} pairs are longer than size.context={context}: "
            "their prompts are cut on the left, then responses on the right"
        )


def world_facts(world: World) -> dict[str, Any]:
    """Return what a stage learned from, for its result."""
    facts: dict[str, Any] = {
        "objective": "preferences", "data_digest": world.digest,
        "update_prompts": len(world.update_prompts), "look_prompts": len(world.look_prompts),
    }  # fmt: skip
    if isinstance(world, PeoplesWorld):
        facts |= {"labels": len(world.trained), "held_out": len(world.held), "cut": world.cut_pairs}
    return facts


def run_part(stage: Stage, part: StagePart) -> None:
    """Run a part that has not ended yet, and record how it ends."""
    if stage.store.result(part):
        return
    status, reason, metrics = "done", "", list[Metric]()
    try:
        metrics.extend(stage.run(part))
    except (PartFailed, PolicyDiverged, FloatingPointError) as error:
        status, reason = "failed", str(error)
        logger.info(f"{part.name}: {reason}")
    stage.store.finish(part, status, reason, metrics)


def write_result(
    folder: Path, parts: PartStore, listed: Sequence[StagePart], facts: dict[str, Any]
) -> None:
    """Write the result: done where the main reward model is, with what became of every part.

    `at` of each metric has the number of its part in the list `facts.parts`.
    """
    results = [parts.result(part) or {} for part in listed]
    metrics = [
        metric_from_json(entry | {"at": {**entry["at"], "part": number}})
        for number, result in enumerate(results)
        for entry in result["metrics"]
    ]
    outcomes = [{key: result[key] for key in ("status", "reason")} for result in results]
    described = [
        part.describe() | outcome for part, outcome in zip(listed, outcomes, strict=True)
    ]  # fmt: skip
    main = outcomes[0]
    store.write_result(
        folder, main["status"], main["reason"], metrics, facts | {"parts": described}
    )
