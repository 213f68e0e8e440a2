"""Score finished runs again, by another protocol, without training them.

  python -m bench.evaluate results/single/runs/RUN evaluate.protocol=stride                overlapping windows
  python -m bench.evaluate results/default evaluate.protocol=stride evaluate.stride=16     every finished run of a suite
  python -m bench.evaluate results/default evaluate.protocol=stateful                      the state carried through the part

What is found lies beside each run, under an identity of its own, RUN/evaluations/<protocol>-<digest8>, and is not looked for a
second time. The report is made again; it never ranks across protocols. Exit code 0, or 2 with one line about what was wrong.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from architectures.interface import Unsupported
from bench import data, evaluation, reporting
from bench.config.errors import UserError, nearest
from bench.config.identity import digest
from bench.config.schema import Run
from bench.config.validation import validate_run
from bench.data import Corpus
from bench.evaluation.protocols import stride_of
from bench.execution.runner import say
from bench.records import loading, store
from bench.records.schema import result_error
from bench.system import files
from bench.training import checkpoint, loop, objective

KEYS = ("evaluate.protocol", "evaluate.stride", "threads")


def parse_arguments(words: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """The folders and the keys of a command. Raises UserError for a word that is neither."""
    folders = [Path(word) for word in words if "=" not in word]
    keys = dict(word.split("=", 1) for word in words if "=" in word)
    for key in keys.keys() - set(KEYS):
        raise UserError(f"{key} is no key of an evaluation; {nearest(key, KEYS)}")
    for key in {"evaluate.stride", "threads"} & keys.keys():
        if not keys[key].isdecimal():
            raise UserError(f"{key}={keys[key]} must be a whole number")
    if not folders:
        raise UserError(
            "name a run to score again: results/<suite>/runs/<run>, or results/<suite> for all that are finished"
        )
    return folders, keys


def finished_runs(folder: Path) -> list[Path]:
    """The run in a folder, or every finished run of the suite in it. Raises UserError where there is none."""
    if (folder / "config.yaml").exists():
        if store.run_status(folder) != "done":
            raise UserError(
                f"{folder} is {store.run_status(folder)}: only a finished run can be scored again"
            )
        return [folder]
    found = [
        path.parent
        for path in sorted(folder.glob("runs/*/config.yaml"))
        if store.run_status(path.parent) == "done"
    ]
    if not found:
        raise UserError(
            f"{folder} holds no finished run: name results/<suite>/runs/<run>, or results/<suite>"
        )
    return found


def evaluation_config(folder: Path, keys: dict[str, str]) -> Run:
    """The configuration of a run with what was asked for. Raises UserError for a value out of its range."""
    run = checkpoint.read_run(folder)
    protocol, stride = keys.get("evaluate.protocol", "stride"), int(keys.get("evaluate.stride", 0))
    changed = replace(
        run,
        evaluate=replace(run.evaluate, protocol=protocol, stride=stride),
        threads=int(keys.get("threads", 1)),
    )
    validate_run(changed)
    return changed


def evaluation_folder(folder: Path, run: Run, corpus: Corpus) -> Path:
    """Where an evaluation lies: its identity is what changes its numbers."""
    options, context = run.evaluate, run.size.context
    key = {
        "protocol": options.protocol,
        "context": context,
        "data": corpus.digest,
        "part": corpus.scored,
    }
    key |= {"stride": stride_of(options, context)} if options.protocol == "stride" else {}
    return folder / "evaluations" / f"{options.protocol}-{digest(key)}"


def with_trained_precision(folder: Path, run: Run) -> Run:
    """The run in the precision that its own score was made in, whatever `auto` would mean on this machine. Raises UserError."""
    known = store.read_result(folder)["facts"].get("precision")
    return replace(run, train=replace(run.train, precision=known)) if known else run


def rescore(folder: Path, run: Run) -> str:
    """Score one run and record it, unless that was done; says how it ended. Raises UserError."""
    corpus = data.prepare(run.data, run.names["data"], say)
    known = loading.load_record(folder).provenance["digests"]["data"]  # a finished run has it
    if known != corpus.digest:
        raise UserError(
            f"{folder}: the text is not what it was trained and scored on (digest {known}, now {corpus.digest})"
        )
    into = evaluation_folder(folder, run, corpus)
    if not result_error(before := store.read_json(into / "result.json")):
        return f"{before['status']} before, not scored again"
    files.check_writable(into)
    plan = loop.train_settings(with_trained_precision(folder, run))
    loop.set_matmul_precision(plan)
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)
    asked = objective.build_objective(
        run.objective, checkpoint.load(folder, str(plan.device)).model
    )
    facts = {
        "objective": asked.name,
        "part": corpus.scored,
        "data_digest": corpus.digest,
        "precision": loop.precision_name(plan),
    }
    try:
        if corpus.law is not None:
            raise Unsupported(
                "beside its best possible loss a source of known law is scored by chunk alone"
            )
        found = evaluation.score_by_protocol(
            asked, corpus, corpus.parts[corpus.scored], run.evaluate, run.size.context, plan
        )
    except Unsupported as reason:
        store.write_result(
            into, "skipped", str(reason), facts=facts | {"protocol": run.evaluate.protocol}
        )
        return f"skipped: {reason}"
    if lost := evaluation.first_non_finite(found.metrics):
        store.write_result(
            into, "failed", f"{lost} is not finite", facts=facts | {"protocol": found.protocol}
        )
        return f"failed: {lost} is not finite"
    store.write_parquet(into / "documents.parquet", found.documents)
    store.write_result(
        into, "done", metrics=found.metrics, facts=facts | {"protocol": found.protocol}
    )
    return f"{evaluation.metric_value(found.metrics, 'bits_per_byte'):.4f} bits per byte by {found.protocol}"


def main(words: Sequence[str] | None = None) -> int:
    """The door with its doormat: whatever a user did wrong is one line."""
    words = sys.argv[1:] if words is None else words
    if not words or {"--help", "-h"} & set(words):
        print(__doc__)
        return 0
    try:
        folders, keys = parse_arguments(words)
        runs = {
            path: evaluation_config(path, keys)
            for folder in folders
            for path in finished_runs(folder)
        }
        for folder, run in runs.items():
            say(f"{folder.name}: {rescore(folder, run)}")
        for root in dict.fromkeys(folder.resolve().parent.parent for folder in runs):
            print(f"report: {reporting.make_report(root)[0]}")
    except UserError as mistake:
        say(f"error: {mistake} [{mistake.code}]")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
