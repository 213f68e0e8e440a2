"""Score a finished run again by another protocol, without training it."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from architectures.interface import Unsupported
from bench import data, evaluation
from bench.config.errors import InvalidRun, UserError
from bench.config.identity import digest
from bench.config.schema import Run
from bench.config.validation import validate_run
from bench.data import Corpus
from bench.evaluation import Score, Scorer
from bench.evaluation.protocols import stride_of
from bench.model import unchanged_process
from bench.records import loading, store
from bench.records.validation import result_error
from bench.system import files
from bench.training import (
    build_objective,
    load,
    precision_name,
    read_run,
    set_matmul_precision,
    train_settings,
)

logger = logging.getLogger(__name__)


def rescored_config(folder: Path, overrides: dict[str, str]) -> Run:
    """Return the configuration of a run with another protocol. Raises UserError."""
    run = read_run(folder)
    protocol = overrides.get("evaluate.protocol", "stride")
    stride = int(overrides.get("evaluate.stride", 0))
    changed = replace(
        run,
        evaluate=replace(run.evaluate, protocol=protocol, stride=stride),
        threads=int(overrides.get("threads", 1)),
    )
    validate_run(changed)
    return changed


def evaluation_folder(folder: Path, run: Run, corpus: Corpus) -> Path:
    """Return where an evaluation is recorded: named by what changes its numbers."""
    options, context = run.evaluate, run.size.context
    key = {"protocol": options.protocol, "context": context, "data": corpus.digest}
    key["part"] = corpus.scored
    key |= {"stride": stride_of(options, context)} if options.protocol == "stride" else {}
    return folder / "evaluations" / f"{options.protocol}-{digest(key)}"


def rescore(folder: Path, run: Run) -> str:
    """Score one run and record it, unless that was done; return how it ended. Raises UserError."""
    corpus = data.prepare(run.data, run.names["data"])
    trained_on = loading.load_record(folder).provenance["digests"]["data"]
    if trained_on != corpus.digest:
        raise UserError(
            f"{folder}: the text is not what it was trained and scored on "
            f"(digest {trained_on}, now {corpus.digest})",
            "invalid-text",
        )
    target = evaluation_folder(folder, run, corpus)
    if not result_error(before := store.read_json(target / "result.json")):
        return f"{before['status']} before, not scored again"
    files.check_writable(target)
    # as it was scored before, whatever precision=auto means on this machine
    precision = store.read_result(folder)["facts"].get("precision") or run.train.precision
    run = replace(run, train=replace(run.train, precision=precision))
    return _record(target, *_score(folder, run, corpus))


def _record(target: Path, score: Score | Unsupported | InvalidRun, facts: dict[str, Any]) -> str:
    if isinstance(score, Unsupported):
        store.write_result(target, "skipped", str(score), facts=facts)
        return f"skipped: {score}"
    if isinstance(score, InvalidRun):
        store.write_result(target, "failed", str(score), facts=facts | {"code": score.code})
        return f"failed: {score}"
    if name := evaluation.first_non_finite(score.metrics):
        store.write_result(target, "failed", f"{name} is not finite", facts=facts)
        return f"failed: {name} is not finite"
    store.write_parquet(target / "documents.parquet", score.documents)
    store.write_result(target, "done", metrics=score.metrics, facts=facts)
    value = evaluation.metric_value(score.metrics, "bits_per_byte")
    return f"{value:.4f} bits per byte by {score.protocol}"


def _score(
    folder: Path, run: Run, corpus: Corpus
) -> tuple[Score | Unsupported | InvalidRun, dict[str, Any]]:
    """Return the score, or why there is none, and the facts of its record."""
    settings = train_settings(run)
    set_matmul_precision(settings)
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)
    model = load(folder, str(settings.device)).model
    scored = build_objective(run.objective, model)
    facts = {"objective": scored.name, "part": corpus.scored, "data_digest": corpus.digest}
    facts |= {"precision": precision_name(settings)}
    try:
        if corpus.synthetic is not None:
            raise Unsupported("a synthetic source, whose regret is known, is scored by chunk only")
        scorer = Scorer(scored, corpus, run.size.context, settings)
        with unchanged_process(type(model.backbone).__name__):
            score = evaluation.score_by_protocol(scorer, run.evaluate)
    except (Unsupported, InvalidRun) as reason:
        return reason, facts | {"protocol": run.evaluate.protocol}
    return score, facts | {"protocol": score.protocol}
