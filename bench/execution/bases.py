"""Find the runs that have to be done before another one. Imports no torch."""

from dataclasses import replace

from bench.cli.sweep import Job, is_task_override
from bench.config.dependencies import base_run, required_runs
from bench.config.schema import DataConfig, Run
from bench.config.task_schema import NO_TASK


def base_jobs(job: Job) -> dict[str, Job]:
    """Return the runs that a run starts from, by what they are for it. Raise UserError."""
    task = job.run.task
    if task.kind != NO_TASK and task.start == "self":  # of its own overrides, which name its text
        return {"base": Job(own_base(job.run), job.overrides)}
    overrides = tuple(word for word in job.overrides if not is_task_override(word))
    jobs = {role: Job(run, overrides) for role, run in required_runs(job.run).items()}
    if "reward" in jobs:  # of another architecture
        other = (word for word in overrides if word.partition("=")[0] not in ("arch", "base"))
        run = jobs["reward"].run
        jobs["reward"] = Job(run, (f"arch={run.names['arch']}", *other))
    return jobs


def own_base(run: Run) -> Run:
    """Return the run that is pre-trained on the training texts of a run's task. Raise UserError.

    Steps, batch, size and kind of tokenizer are those of the run's own base (Amos et al. 2024,
    arXiv:2310.02980).
    """
    from bench.tasks.finetuning.examples import prepare_examples

    name, data = run.names["task"], run.data
    texts = prepare_examples(run.task, name, data.cache).folder
    own = DataConfig("examples", texts, split="given", tokenizer=data.tokenizer, cache=data.cache)
    base = base_run(run)
    data = replace(own, vocabulary=data.vocabulary)
    return replace(base, data=data, names=base.names | {"data": f"{name}-texts"})
