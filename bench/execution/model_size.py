"""Size and check the model of a run once for all runs, and all commands, that train the same."""

import logging
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from typing import Any, NamedTuple

from architectures.interface import Unsupported
from bench.config.errors import UserError
from bench.config.identity import architecture_id
from bench.config.schema import Run
from bench.data import Corpus
from bench.data.cache import (
    cache_root,
    check_owner,
    hash_json,
    read_checked_json,
    write_checked_json,
)
from bench.evaluation.suite import check_protocol_supported
from bench.model import count_parameters
from bench.records.source import TRAINING, source_digest
from bench.system import host
from bench.system.files import atomic_write
from bench.training import resolve_inputs, setup

logger = logging.getLogger(__name__)
FOLDER = "model_sizes"  # of the cache
_refused: dict[str, UserError] = {}  # by file name: what this process could not build


class ModelSize(NamedTuple):
    """The size of a model that passes all checks before training, or why it is skipped."""

    width: int = 0
    parameters: int = 0
    flops_per_token: float = 0.0  # forward
    unsupported: str = ""


def model_size(run: Run, corpus: Corpus) -> ModelSize:
    """Return the size of a run's model. Raise UserError where the run cannot start.

    It is kept in the cache by all that decides it: sources, architecture, budget, data, device.
    """
    resolve_inputs(run, corpus)  # the machine and the text are checked each time
    path = cache_root(run.data.cache) / FOLDER / f"{hash_json(_key(run, corpus))[:16]}.json"
    check_owner(path.parent)
    with suppress(OSError, ValueError, TypeError):
        return ModelSize(**read_checked_json(path))
    if path.name in _refused:
        raise _refused[path.name]
    logger.info(f"building {run.names['arch']} to learn its size")
    try:
        size = _build(run, corpus)
    except UserError as error:
        _refused[path.name] = error
        raise
    with suppress(OSError), atomic_write(path) as temporary:  # else it is built again
        write_checked_json(temporary, size._asdict())
    return size


def _key(run: Run, corpus: Corpus) -> dict[str, Any]:
    names = ("batch", "accumulate", "precision", "compile", "device", "ranks", "sharding")
    return {
        "source": _source(str(run.arch["_target_"])),
        "arch": architecture_id(run.arch),
        "size": asdict(run.size),
        "objective": asdict(run.objective),
        "evaluate": asdict(run.evaluate),
        "train": {name: getattr(run.train, name) for name in names},
        "data": corpus.digest,
        "machine": host.machine_digest(),
        "torch": host.package_version("torch"),
    }


@cache
def _source(target: str) -> str:
    return source_digest(TRAINING, target)


def _build(run: Run, corpus: Corpus) -> ModelSize:
    try:
        model = setup(run, corpus).model
        check_protocol_supported(model, run, corpus)
        flops = model.flops(run.size.context)
    except Unsupported as reason:
        return ModelSize(unsupported=str(reason))
    return ModelSize(model.backbone.width, count_parameters(model)["parameters"], flops)
