"""Hydra's launchers: the plug-in that each needs, how it is installed, what it raises where a process dies. Imports no torch."""

import importlib.util
import os
import re
import shutil
import socket
import traceback
from concurrent.futures import BrokenExecutor
from subprocess import CalledProcessError

from bench.config.errors import UserError

SUBMITIT = (
    "hydra_plugins.hydra_submitit_launcher",
    "python -m pip install hydra-submitit-launcher",
)
# by itself it would ask for older versions of what joblib and pandas need
RAY = (
    "hydra_plugins.hydra_ray_launcher",
    "python -m pip install ray && python -m pip install --no-deps hydra-ray-launcher",
)
JOBLIB = ("hydra_plugins.hydra_joblib_launcher", "python -m pip install hydra-joblib-launcher")
PLUGINS = dict.fromkeys(("slurm", "submitit_slurm", "submitit_local"), SUBMITIT)
PLUGINS |= {"ray": RAY, "local": JOBLIB, "joblib": JOBLIB}


def missing_plugin(name: str) -> str:
    """The line that says how the plug-in of a launcher is installed; empty for one that needs none, or has it."""
    module, install = PLUGINS.get(name, ("", ""))
    return (
        f"hydra/launcher={name} needs a plug-in: {install}"
        if module and not _is_installed(module)
        else ""
    )


def check(target: str, name: str, address: str = "") -> None:
    """Raise UserError where the launcher with this class can not work here. `address`: of the Ray cluster that it is to use."""
    if said := missing_plugin(name):
        raise UserError(said)
    if target.startswith(RAY[0]) and not _is_installed("ray"):
        raise UserError(f"hydra/launcher={name} needs Ray itself: python -m pip install ray")
    place = re.fullmatch(r"([^:/]+):(\d+)", address)
    if place and not _accepts_connections(place[1], int(place[2])):  # Ray itself waits for minutes
        raise UserError(_no_cluster(address))
    if target.endswith(".SlurmLauncher") and not shutil.which("sbatch"):
        here = "hydra/launcher=submitit_local tries the same on this machine"
        raise UserError(
            f"hydra/launcher={name}: this machine has no sbatch: give the command on one of the cluster's; {here}"
        )


def check_single(target: str, name: str) -> None:
    """Raise UserError for one run with a launcher that starts sweeps elsewhere: without -m, Hydra would train it here."""
    if not target.startswith(JOBLIB[0]) and not target.endswith(".BasicLauncher"):
        raise UserError(f"hydra/launcher={name}: launchers start sweeps: add -m")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def rejection(error: BaseException) -> str:
    """What a launcher says by this error of a cluster that takes nothing from it, in one line; empty where it does not."""
    cause = error.__cause__
    if isinstance(cause, CalledProcessError) and cause.cmd[0] == "sbatch":
        lines = [
            line.removeprefix("sbatch: ").removeprefix("error: ").strip()
            for line in str(error).splitlines()
        ]
        return f"sbatch refused: {'; '.join(filter(None, lines)) or f'it ended with exit code {cause.returncode}'}"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "start_ray":
            return _no_ray(
                error,
                frame.f_locals["init_cfg"].get("address") or os.environ.get("RAY_ADDRESS", ""),
            )
    return ""


def _no_ray(error: BaseException, address: str) -> str:
    if address and isinstance(error, (ConnectionError, TimeoutError)):
        return _no_cluster(address)
    why = next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )
    return f"Ray did not start: {why}"


def _no_cluster(address: str) -> str:
    then = "start one with `ray start --head`, or leave hydra.launcher.ray.init.address out"
    return f"no Ray cluster answers at {address}: {then}"


def _accepts_connections(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except (OSError, OverflowError):
        return False


def is_worker_death(error: BaseException) -> bool:
    """Whether a launcher says by this error that a process of its own died: what it ran is in its record."""
    return isinstance(error, BrokenExecutor) or type(error).__module__.partition(".")[0] in (
        "submitit",
        "ray",
    )
