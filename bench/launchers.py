"""Hydra's launchers: the plug-in that each needs, how it is installed, what it raises where a process dies. Imports no torch."""

import importlib.util
import shutil
from concurrent.futures import BrokenExecutor

from bench.config import Mistake

SUBMITIT = ("hydra_plugins.hydra_submitit_launcher", "python -m pip install hydra-submitit-launcher")
# by itself it would ask for older versions of what joblib and pandas need
RAY = ("hydra_plugins.hydra_ray_launcher", "python -m pip install ray && python -m pip install --no-deps hydra-ray-launcher")
JOBLIB = ("hydra_plugins.hydra_joblib_launcher", "python -m pip install hydra-joblib-launcher")
PLUGINS = dict.fromkeys(("slurm", "submitit_slurm", "submitit_local"), SUBMITIT)
PLUGINS |= {"ray": RAY, "local": JOBLIB, "joblib": JOBLIB}


def missing(name: str) -> str:
    """The line that says how the plug-in of a launcher is installed; empty for one that needs none, or has it."""
    module, install = PLUGINS.get(name, ("", ""))
    return f"hydra/launcher={name} needs a plug-in: {install}" if module and not _there(module) else ""


def check(target: str, name: str) -> None:
    """Raise Mistake where the launcher with this class can not work here."""
    if said := missing(name):
        raise Mistake(said)
    if target.startswith(RAY[0]) and not _there("ray"):
        raise Mistake(f"hydra/launcher={name} needs Ray itself: python -m pip install ray")
    if target.endswith(".SlurmLauncher") and not shutil.which("sbatch"):
        here = "hydra/launcher=submitit_local tries the same on this machine"
        raise Mistake(f"hydra/launcher={name}: this machine has no sbatch: give the command on one of the cluster's; {here}")


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def died(error: BaseException) -> bool:
    """Whether a launcher says by this error that a process of its own died: what it ran is in its record."""
    return isinstance(error, BrokenExecutor) or type(error).__module__.partition(".")[0] in ("submitit", "ray")
