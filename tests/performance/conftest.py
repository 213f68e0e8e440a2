"""Share small runs, options and isolation among the tests of measuring."""

from collections.abc import Iterator

import pytest
import torch

from bench.config.schema import MeasureConfig, Run, SizeConfig, TrainConfig

OPTIONS = MeasureConfig(
    processes=1,
    rounds=5,
    window_seconds=0.01,
    side_rounds=2,
    batches=[3],
    lengths=[4, 16, 24, 32],
    curve_rounds=2,
    energy_seconds=0.01,
    limit_seconds=12.0,
)


def make_run(backbone: str, objective: str = "auto", **changes: object) -> Run:
    """Return a small run of a class in fake_backbones."""
    target = f"tests.performance.fake_backbones.{backbone}"
    run = Run(
        arch={"_target_": target, "tune": {"learning_rate": 1e-3}},
        size=SizeConfig(parameters=3000, context=16),
        train=TrainConfig(batch=4, accumulate=2),
        measure=OPTIONS,
        names={"arch": backbone.lower(), "data": "none", "size": "own", "objective": objective},
    )
    run.objective.kind = objective
    for key, value in changes.items():
        setattr(run, key, value)
    return run


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Run torch on one thread: threads that spin make a busy machine crawl."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
