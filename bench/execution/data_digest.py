"""Digest what a run is trained on as it is now: a record of other data is not that of the run."""

from bench.config.schema import Run
from bench.config.task_schema import NO_TASK


def data_digest(run: Run) -> str:
    """Return the digest of a run's text with its labels, or of its task's examples.

    Raise UserError where they cannot be prepared.
    """
    from bench import data  # what prepares them is slow to import
    from bench.tasks.finetuning.examples import prepare_examples
    from bench.tasks.preferences.people import with_labels

    if run.task.kind != NO_TASK:
        return prepare_examples(run.task, run.names["task"], run.data.cache).digest
    return with_labels(data.prepare(run.data, run.names["data"]).digest, run)
