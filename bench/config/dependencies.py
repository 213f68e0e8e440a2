"""State which finished runs a run starts from."""

from dataclasses import replace

from bench.config.schema import Run
from bench.config.task_schema import NO_TASK, TaskConfig


def without_task(run: Run) -> Run:
    """Return the run whose weights a fine-tuning starts from; a run without a task itself."""
    return replace(run, task=TaskConfig(), base="", names=run.names | {"task": NO_TASK})


def required_runs(run: Run) -> dict[str, Run]:
    """Return the runs that have to be done before this one, by what they are for it.

    Empty where it starts from initial weights, or from the finished run that `base` names.
    """
    starts_fresh = run.task.kind == NO_TASK or run.task.start == "scratch"
    return {} if starts_fresh or run.base else {"base": without_task(run)}
