"""Timed windows, decoding from a state, the hardware's own peak."""

import time

import pytest
import torch

from bench.performance import hardware_peak, timing
from bench.performance.hardware_peak import HardwarePeak
from bench.performance.workload import Workload
from tests.performance.conftest import make_run


def test_a_window_separates_wall_time_from_processor_time() -> None:
    window = timing.time_work(lambda: time.sleep(0.02), 10, torch.device("cpu"), passes=3)
    assert (window.tokens, window.passes) == (30, 3)
    assert window.wall >= 0.06
    assert window.cpu < window.wall


def test_decoding_continues_from_the_prefilled_state() -> None:
    workload = Workload(make_run("Sum"), 30)
    prompt = workload.prompt(6)
    token, state = timing.prefill(workload.model, prompt, 16)
    with torch.no_grad():
        logits, _ = workload.model(prompt)
        assert torch.equal(token, logits[:, -1:].argmax(-1))
        following, _ = timing.decode(workload.model, token, state, 1)
        logits, _ = workload.model(torch.cat([prompt, token], 1))
    assert torch.equal(following, logits[:, -1:].argmax(-1))


def test_training_hardly_moves_the_weights() -> None:
    workload = Workload(make_run("Sum"), 30)
    before = workload.model.embedding.weight.detach().clone()
    workload.train()
    assert (workload.model.embedding.weight - before).abs().max() < 1e-2


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_hardware_rates_count_what_is_done(
    precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware_peak, "MATRIX_SIDE", {"cpu": 16})
    monkeypatch.setattr(hardware_peak, "COPY_BYTES", {"cpu": 1000})
    monkeypatch.setattr(hardware_peak, "WINDOW_SECONDS", 0.05)
    hardware = HardwarePeak(torch.device("cpu"), precision)
    for window, amount in ((hardware.product(), 2 * 16**3), (hardware.copy(), 2 * 1000)):
        assert window.tokens == amount * window.passes
        assert window.passes > 1
        assert window.wall > 0
    first, second, result = hardware.factors
    assert result.dtype == precision
    assert torch.equal(result, first @ second)
    assert torch.equal(*hardware.buffers)
