"""State which finished runs a run starts from."""

from dataclasses import replace

from bench.config.preference_schema import NO_PREFERENCE, PreferenceConfig
from bench.config.schema import Run
from bench.config.task_schema import NO_TASK, TaskConfig

# configuration groups of what starts from a finished run, with the YAML that chooses nothing
LATER_GROUPS = {"task": NO_TASK, "preference": NO_PREFERENCE}


def base_run(run: Run) -> Run:
    """Return the run whose weights a run starts from; itself where it starts from none."""
    names = run.names | LATER_GROUPS
    return replace(run, task=TaskConfig(), preference=PreferenceConfig(), base="", names=names)


def reward_run(run: Run) -> Run | None:
    """Return the run whose weights reward models start from, where its architecture is another."""
    reward = run.preference.reward
    if not (run.preference.enabled and reward.arch):
        return None
    base = base_run(run)
    return replace(base, arch=reward.model, names=base.names | {"arch": reward.arch})


def required_runs(run: Run) -> dict[str, Run]:
    """Return the runs that have to be done before this one, by what they are for it.

    Without a base where it starts from initial weights, or from the finished run that `base` names;
    task.start=self needs one on the task's texts, which `execution.bases` finds.
    """
    fine_tuned = run.task.kind != NO_TASK and run.task.start == "pretrained"
    starts_fresh = not fine_tuned and not run.preference.enabled
    runs = {} if starts_fresh or run.base else {"base": base_run(run)}
    other = reward_run(run)
    return runs | ({} if other is None else {"reward": other})
