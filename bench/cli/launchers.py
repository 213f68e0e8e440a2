"""Check Hydra's launchers: their plug-ins, and what they raise on failure. Imports no torch."""

import importlib.util
import os
import re
import shutil
import socket
import traceback
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from subprocess import CalledProcessError
from typing import Any

from omegaconf import OmegaConf

from bench.config.errors import UserError

JOBLIB = "hydra_plugins.hydra_joblib_launcher"
SUBMITIT = "hydra_plugins.hydra_submitit_launcher"
RAY = "hydra_plugins.hydra_ray_launcher"
INSTALL = {
    JOBLIB: "python -m pip install hydra-joblib-launcher",
    SUBMITIT: "python -m pip install hydra-submitit-launcher",
    # by itself it would ask for older versions of what joblib and pandas need
    RAY: "python -m pip install ray && python -m pip install --no-deps hydra-ray-launcher",
}
PLUGINS = {"slurm": SUBMITIT, "submitit_slurm": SUBMITIT, "submitit_local": SUBMITIT}
PLUGINS |= {"ray": RAY, "local": JOBLIB, "joblib": JOBLIB}


def missing_plugin(name: str) -> str:
    """Return how the plug-in of a launcher is installed; empty if it needs none, or has it."""
    module = PLUGINS.get(name)
    if module is None or _is_installed(module):
        return ""
    return f"hydra/launcher={name} needs a plug-in: {INSTALL[module]}"


@dataclass(frozen=True)
class Launcher:
    """The launcher of a command: its name, its class and the address of its Ray cluster."""

    name: str
    target: str
    address: str = ""

    @classmethod
    def of(cls, config: Any) -> "Launcher":
        """Return the launcher of a composed configuration."""
        node = config.hydra.launcher
        address = str(OmegaConf.select(node, "ray.init.address") or "")
        return cls(config.hydra.runtime.choices["hydra/launcher"], node._target_, address)

    @property
    def parallel(self) -> bool:
        """Whether it runs jobs in processes of its own."""
        return not self.target.endswith(".BasicLauncher")

    @property
    def remote(self) -> bool:
        """Whether these may be on other machines."""
        return self.parallel and not self.target.startswith(JOBLIB)

    def check(self, is_sweep: bool) -> None:
        """Raise UserError if it cannot run the command here."""
        if not is_sweep:  # without -m Hydra would train a single run here
            if self.remote:
                raise self._error("launchers start sweeps: add -m")
            return
        if message := missing_plugin(self.name):
            raise UserError(message, "missing-package")
        if self.target.startswith(RAY) and not _is_installed("ray"):
            message = f"hydra/launcher={self.name} needs Ray itself: python -m pip install ray"
            raise UserError(message, "missing-package")
        place = re.fullmatch(r"([^:/]+):(\d+)", self.address)
        if place and not _accepts_connections(place[1], int(place[2])):  # Ray waits for minutes
            raise UserError(_no_cluster(self.address), "launcher")
        if self.target.endswith(".SlurmLauncher") and not shutil.which("sbatch"):
            raise self._error(
                "this machine has no sbatch: start the command on a machine of the cluster; "
                "hydra/launcher=submitit_local tries the same on this machine"
            )

    def _error(self, message: str) -> UserError:
        return UserError(f"hydra/launcher={self.name}: {message}", "launcher")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def _accepts_connections(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except (OSError, OverflowError):
        return False


def rejection(error: BaseException) -> str:
    """Return one line about a cluster that rejects jobs, if a launcher raised this error of it."""
    cause = error.__cause__
    if isinstance(cause, CalledProcessError) and cause.cmd[0] == "sbatch":
        lines = [
            line.removeprefix("sbatch: ").removeprefix("error: ").strip()
            for line in str(error).splitlines()
        ]
        reason = "; ".join(filter(None, lines)) or f"it ended with exit code {cause.returncode}"
        return f"sbatch rejected the jobs: {reason}"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "start_ray":
            address = frame.f_locals["init_cfg"].get("address")
            return _no_ray(error, address or os.environ.get("RAY_ADDRESS", ""))
    return ""


def _no_ray(error: BaseException, address: str) -> str:
    if address and isinstance(error, (ConnectionError, TimeoutError)):
        return _no_cluster(address)
    lines = (line.strip() for line in str(error).splitlines() if line.strip())
    return f"Ray did not start: {next(lines, type(error).__name__)}"


def _no_cluster(address: str) -> str:
    advice = "start one with `ray start --head`, or leave hydra.launcher.ray.init.address out"
    return f"no Ray cluster answers at {address}: {advice}"


def is_worker_death(error: BaseException) -> bool:
    """Return whether a launcher raised this because a process of its own died."""
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, BrokenExecutor) or package in ("submitit", "ray")
