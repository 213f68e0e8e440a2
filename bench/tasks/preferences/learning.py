"""Learn from preferences behind one finished run: open its record and run its parts."""

import functools
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from architectures.interface import Unsupported
from bench.config.schema import Run
from bench.data import prepare
from bench.records import store
from bench.records.finished import FinishedRun
from bench.records.metrics import Metric
from bench.records.source import training_source
from bench.tasks.preferences.label_facts import describe_labels, label_warnings
from bench.tasks.preferences.part_store import PartStore
from bench.tasks.preferences.parts import StagePart, list_parts
from bench.tasks.preferences.peoples_world import PeoplesWorld
from bench.tasks.preferences.stage import PartFailed, Stage
from bench.tasks.preferences.worlds import SimulatedWorld, World
from bench.training import TrainedModel, load

logger = logging.getLogger(__name__)
Progress = Callable[[str], None]
show_progress: Progress = functools.partial(logger.info, extra={"progress": True})


def learn(run: Run, base: FinishedRun, folder: Path, progress: Progress = show_progress) -> None:
    """Run the parts that are missing in the folder of a run, and write its result.

    Raise UserError where nothing can begin, Unsupported where the architecture cannot learn so.
    """
    trained = load(base.folder)
    check_supported(trained)
    report_cost(replace(trained, run=run))
    world, labels = open_world(run, trained)
    store.add_provenance(folder, {"data": world.digest}, {})
    remove_other_parts(folder, run, base, world)
    rows = [json.dumps(row, ensure_ascii=False) for row in world.label_rows()]
    store.write_text(folder / "labels.jsonl", "\n".join(rows) + "\n")
    stage = Stage(trained.model, world, PartStore(folder), progress)
    outcomes = [run_part(stage, part) for part in list_parts(run.preference, run.seed, labels)]
    write_result(folder, outcomes, world_facts(world))


def remove_other_parts(folder: Path, run: Run, base: FinishedRun, world: World) -> None:
    """Remove the parts that an earlier start left, where sources, weights or labels were others."""
    origin = {
        "source": training_source(str(run.arch.get("_target_", ""))),
        "weights": base.weights_sha256,
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
    # a curve chooses from a pool of twice as many pairs as it labels
    pool = max(
        options.labels, options.few_labels, *(2 * size for size in options.curve.sizes or [0])
    )
    return SimulatedWorld(run, corpus, trained.model, pool), options.labels


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


@dataclass(frozen=True)
class PartOutcome:
    """How a part ended."""

    part: StagePart
    status: str  # done or failed
    reason: str
    metrics: list[Metric]


def run_part(stage: Stage, part: StagePart) -> PartOutcome:
    """Return the outcome of a part: read where it has ended, run otherwise."""
    if result := stage.store.result(part):
        return PartOutcome(part, result["status"], result["reason"], stage.store.metrics(part))
    status, reason, metrics = "done", "", list[Metric]()
    try:
        metrics.extend(stage.run(part))
    except PartFailed as error:
        status, reason = "failed", str(error)
        logger.info(f"{part.name}: {reason}")
    stage.store.finish(part, status, reason, metrics)
    return PartOutcome(part, status, reason, metrics)


def write_result(folder: Path, outcomes: list[PartOutcome], facts: dict[str, Any]) -> None:
    """Write the result: done where the main reward model is, with what became of every part.

    `at` of each metric has the number of its part in the list `facts.parts`.
    """
    parts = [end.part.describe() | {"status": end.status, "reason": end.reason} for end in outcomes]
    metrics = [
        replace(one, at={**one.at, "part": number})
        for number, end in enumerate(outcomes)
        for one in end.metrics
    ]
    main = outcomes[0]
    store.write_result(folder, main.status, main.reason, metrics, facts | {"parts": parts})
