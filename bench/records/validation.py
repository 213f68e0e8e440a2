"""Find what is wrong with the files of a record: each check returns it in words, or nothing.

A full disk, an editor or another version may damage a file: what is not as it was written does not
count, and the report says so. Imports no torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.records import schema
from bench.records.record_files import first_mismatch, shorten
from bench.records.schema import FINISHED, NUMBER, SCHEMA
from bench.system.checksums import file_error

HEADLINES = {  # a finished run has one of them
    "masked": ("pseudo_perplexity",),
    "causal": ("bits_per_byte", "regret"),
    "preferences": ("reward_accuracy",),
    "classification": ("label_accuracy",),
    "generation": ("answer_bits_per_byte",),
    "pairs": ("pair_accuracy",),
}


def all_of_types(values: Iterable[Any], types: tuple[type, ...]) -> bool:
    return {*map(type, values)} <= {*types}


def result_error(result: Any) -> str:
    """Check the result of a run or of a measurement."""
    if error := first_mismatch(result, schema.RESULT):
        return error
    if result["schema"] != SCHEMA:
        return f"schema is {result['schema']}, and this version reads {SCHEMA}"
    if result["status"] not in FINISHED:
        return f"status is {shorten(result['status'])}, not one of {', '.join(FINISHED)}"
    return metrics_error(result["metrics"])


def metrics_error(metrics: Sequence[Any]) -> str:
    """Check a list of metrics."""
    for metric in metrics:
        if error := first_mismatch(metric, schema.METRIC):
            return f"a metric: {error}"
        numbers = [*metric["values"], *(metric.get("at") or {}).values()]
        rounds = metric.get("rounds") or ()
        if not (all_of_types(numbers, NUMBER) and all_of_types(rounds, (int,))):
            return f"{shorten(metric['name'])} holds values that are not numbers"
    return ""


def headline_error(result: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Check that a finished run has a finite headline score."""
    kind = (result.get("facts") or {}).get("objective") or config.get("objective", {}).get("kind")
    names = HEADLINES.get(kind) or [name for group in HEADLINES.values() for name in group]
    scores = {one["name"]: one["values"] for one in result["metrics"] if one["name"] in names}
    if not any(scores.values()):
        return f"result.json: it is done, but has no {' or '.join(names)}"
    for name, values in scores.items():
        if not all(map(math.isfinite, values)):
            return f"result.json: {name} is {', '.join(map(str, values))}, which is not finite"
    return ""


def data_digest_error(provenance: Mapping[str, Any]) -> str:
    """Check that a finished run names its data: without that it cannot be compared."""
    named = (provenance.get("digests") or {}).get("data")
    return "" if named else "provenance.json: digests.data is missing, which names the text"


def changed_file_error(folder: Path, name: str, result: Mapping[str, Any]) -> str:
    """Check that a file of a record is as it was when the record's result was written."""
    return file_error(folder, name, result.get("files"))


def calibration_error(content: Any) -> str:
    """Check the calibration of a session."""
    error = first_mismatch(content, schema.CALIBRATION)
    is_valid = error or all(isinstance(one, dict) for one in content["findings"])
    return error if is_valid else "a finding is not a mapping"


def baselines_error(content: Any) -> str:
    """Check the baselines of a text."""
    if error := first_mismatch(content, schema.BASELINES):
        return error
    for line in content["lines"]:
        if error := first_mismatch(line, schema.BASELINE) or metrics_error(line["metrics"]):
            return f"a baseline: {error}"
        if not all(metric["values"] for metric in line["metrics"]):
            return f"a baseline: {shorten(line['name'])} has no value"
    return ""


def saliency_error(content: Any) -> str:
    """Check what a run's predictions look at."""
    if error := first_mismatch(content, schema.SALIENCY):
        return error
    for passage in content["passages"]:
        if error := first_mismatch(passage, schema.PASSAGE):
            return f"a passage: {error}"
        heads = [head.get("weights") for head in passage["attention"] if isinstance(head, dict)]
        if not _numbers_of_length([passage["shares"], *heads], len(passage["pieces"])):
            return "a passage: its pieces, shares and weights are not as many numbers"
    if not _numbers_of_length(content["shares"], len(content["distances"])):
        return "shares is not a finite number per prediction and bin"
    return ""


def _numbers_of_length(rows: Sequence[Any], length: int) -> bool:
    return all(
        isinstance(row, list)
        and len(row) == length
        and all_of_types(row, NUMBER)
        and all(map(math.isfinite, row))
        for row in rows
    )


def search_error(content: Any) -> str:
    """Check the record of a search for a learning rate."""
    return first_mismatch(content, schema.SEARCH) or trials_error(content["trials"])


def trials_error(trials: Sequence[Any]) -> str:
    """Check the trials of a search."""
    for trial in trials:
        if error := first_mismatch(trial, schema.TRIAL):
            return f"a trial: {error}"
        repeats = (first_mismatch(one, schema.TRIAL) for one in trial.get("repeats") or ())
        if error := next(filter(None, repeats), ""):
            return f"a repeated trial: {error}"
    return ""


def checks_error(content: Any) -> str:
    """Check the stored results of the contract."""
    if error := first_mismatch(content, schema.CHECKS):
        return error
    errors = (first_mismatch(finding, schema.FINDING) for finding in content["findings"])
    return next((f"a finding: {error}" for error in errors if error), "")
