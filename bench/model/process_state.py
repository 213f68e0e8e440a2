"""Compare the state of the process around a plug-in's code: functions, settings, generators.

A plug-in that replaces a function of torch, or sets a default, changes what all else computes: its
own score, and the next architecture in the same process.
"""

import logging
import os
import random
import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.overrides import _pop_mode, _push_mode
from torch.utils._device import DeviceContext

from bench.config.errors import InvalidRun
from bench.system.exits import contain_plugin

LIBRARIES = (
    "math", "random", "numpy", "numpy.random", "torch", "torch.fft", "torch.linalg", "torch.nn",
    "torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.optim", "torch.special",
)  # fmt: skip
OWN_PACKAGES = ("bench.", "architectures.interface", "architectures.layers")
SUBNORMAL = 1e-40  # a float32 that is zero where denormal numbers are flushed
MAX_NAMED = 3  # changes in one message
Owner = types.ModuleType | type
Pair = tuple[Any, Any]  # the value before and after


class ProcessChanged(InvalidRun):
    """A plug-in that changes the state of the process; the message names what it changes."""

    code = "changes-process"


class Setting(NamedTuple):
    """A switch of the whole process."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _flushes_denormals() -> bool:
    return not bool((torch.tensor(SUBNORMAL, dtype=torch.float32, device="cpu") * 1).item())


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _set_default_device(device: torch.device) -> None:
    """Set it again, also where it was changed within `with torch.device(…)`, which then stays."""
    torch.set_default_device(None)
    modes = [_pop_mode() for _ in range(torch._C._len_torch_function_stack())]
    for mode in reversed(modes):
        if not isinstance(mode, DeviceContext):
            _push_mode(mode)
    if device != torch.device("cpu"):
        torch.set_default_device(device)


def _umask() -> int:
    os.umask(value := os.umask(0o077))
    return value


def _handler(number: int) -> Setting:
    name = f"the handler of {signal.Signals(number).name}"
    return Setting(name, partial(signal.getsignal, number), partial(signal.signal, number))


SETTINGS = (
    Setting("os.chdir", _folder, os.chdir),
    Setting("os.umask", _umask, os.umask),
    Setting("logging.disable", lambda: logging.root.manager.disable, logging.disable),
    Setting("numpy.seterr", np.geterr, lambda value: np.seterr(**value)),
    *map(_handler, (signal.SIGTERM, signal.SIGINT)),
    Setting("torch.set_default_dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("torch.set_default_device", torch.get_default_device, _set_default_device),
    Setting("torch.set_num_threads", torch.get_num_threads, torch.set_num_threads),
    Setting("torch.set_flush_denormal", _flushes_denormals, torch.set_flush_denormal),
    Setting("torch.set_grad_enabled", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting(
        "torch.use_deterministic_algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    Setting(
        "torch.set_float32_matmul_precision",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    Setting(
        "torch.backends.mkldnn.enabled",
        lambda: torch.backends.mkldnn.enabled,
        partial(setattr, torch.backends.mkldnn, "enabled"),
    ),
    Setting(
        "torch.backends.cudnn.allow_tf32",
        lambda: torch.backends.cudnn.allow_tf32,
        partial(setattr, torch.backends.cudnn, "allow_tf32"),
    ),
)
GENERATORS = (
    Setting("the global generator of torch", torch.get_rng_state, torch.set_rng_state),
    Setting("the global generator of random", random.getstate, random.setstate),
    Setting("the global generator of numpy", np.random.get_state, np.random.set_state),
)


class ProcessState:
    """Hold the functions, settings and, where wanted, generators of the process at one time."""

    def __init__(self, generators: bool = False) -> None:
        self.functions = {owner: dict(vars(owner)) for owner in _owners()}
        switches = (*SETTINGS, *GENERATORS) if generators else SETTINGS
        self.values = [(switch, switch.read()) for switch in switches]

    def restore(self) -> list[str]:
        """Undo what has changed since, and return its names."""
        changed = []
        for owner, before in self.functions.items():
            for name in _replaced(vars(owner), before):
                setattr(owner, name, before[name])
                changed.append(f"{_name_of(owner)}.{name}")
        for switch, value in self.values:
            if not _equal(value, switch.read()):
                switch.write(value)
                changed.append(switch.name)
        return changed


@contextmanager
def unchanged_process(subject: str, generators: bool = False) -> Iterator[None]:
    """Raise ProcessChanged where what runs inside changes the process, once that is undone.

    It cannot end the process either: see `contain_plugin`.
    """
    state = ProcessState(generators)
    try:
        with contain_plugin():
            yield
    except BaseException:
        state.restore()
        raise
    if changed := state.restore():
        more = f" and {len(changed) - MAX_NAMED} more" if len(changed) > MAX_NAMED else ""
        raise ProcessChanged(
            f"{subject} changes {', '.join(changed[:MAX_NAMED])}{more} for the whole process, and "
            "thereby what every architecture computes: change nothing outside the model"
        )


def _owners() -> Iterator[Owner]:
    """Yield the modules and classes whose functions must stay."""
    for name, module in list(sys.modules.items()):
        if module is not None and (name in LIBRARIES or name.startswith(OWN_PACKAGES)):
            yield module
            if name == "torch.nn" or name.startswith(OWN_PACKAGES):
                yield from (each for each in vars(module).values() if _is_own_class(each, module))
    yield torch.Tensor


def _is_own_class(value: Any, module: types.ModuleType) -> bool:
    return isinstance(value, type) and (
        value.__module__ == module.__name__ or (module is nn and issubclass(value, nn.Module))
    )


def _replaced(now: Any, before: dict[str, Any]) -> list[str]:
    """Return the names of functions and classes that are missing or others than before."""
    return [
        name
        for name, value in before.items()
        if (callable(value) or isinstance(value, (property, staticmethod, classmethod)))
        and now.get(name) is not value
        and not _is_wrapped_by_torch(now.get(name), value)
    ]


def _is_wrapped_by_torch(now: Any, before: Any) -> bool:
    """Return whether torch.compile, once it is imported, has wrapped a function of torch."""
    code = getattr(now, "__code__", None)
    own = code is not None and code.co_filename.startswith(os.path.dirname(torch.__file__))
    return own and getattr(now, "__wrapped__", None) is before


def _name_of(owner: Owner) -> str:
    return f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else owner.__name__


def _equal(before: Any, now: Any) -> bool:
    """Return whether two values of a setting are equal, arrays and tensors included."""
    if isinstance(before, torch.Tensor | np.ndarray):
        return bool((before == now).all())
    if isinstance(before, tuple):
        return all(_equal(a, b) for a, b in zip(before, now, strict=True))
    return bool(before == now)
