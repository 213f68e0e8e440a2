"""The peak memory of a process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.performance import process_memory
from bench.system.host import worker_environment
from tests.conftest import ROOT

GROWTH = """
import torch
from bench.performance.process_memory import reset_peak_bytes, peak_growth_bytes
kept = [torch.ones(1 << 22) for _ in range(8)]  # the process keeps these 128 MiB when freed
del kept
before = reset_peak_bytes()
numbers = torch.nn.Parameter(torch.zeros(2, 2))
adam = torch.optim.AdamW([numbers], fused=True)
def step(size):
    held = torch.ones(size)
    numbers.sum().backward()
    adam.step()
step(1)
print(peak_growth_bytes(before))
step(1 << 24)
print(peak_growth_bytes(before))
"""


@pytest.mark.skipif(not process_memory.RESET_FILE.exists(), reason="this system has no /proc")
def test_the_growth_includes_a_tensor_that_lives_only_within_the_step() -> None:
    output = subprocess.check_output(
        [sys.executable, "-c", GROWTH], env=worker_environment(1), cwd=ROOT, text=True, timeout=120
    )
    without, with_tensor = map(int, output.split())
    assert 0 <= without < 8 << 20  # without what torch loads at its first step, over 75 MB
    assert 64 << 20 <= with_tensor < (64 + 16) << 20


def test_without_counters_the_reason_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process_memory, "RESET_FILE", tmp_path / "clear_refs")
    before = process_memory.reset_peak_bytes()
    assert isinstance(before, str)
    assert f"{tmp_path}/clear_refs" in before
    assert process_memory.peak_growth_bytes(before) == before
    assert not (tmp_path / "clear_refs").exists()

    status = tmp_path / "status"
    monkeypatch.setattr(process_memory, "STATUS_FILE", status)
    assert str(status) in str(process_memory.peak_growth_bytes(5))
    status.write_text("VmRSS:\t  314000 kB\n", encoding="utf-8")
    assert "VmHWM" in str(process_memory.peak_growth_bytes(5))
    status.write_text("VmHWM:\t  314000 kB\n", encoding="utf-8")
    assert process_memory.peak_growth_bytes(5) == 314_000 * 1024 - 5
    assert process_memory.peak_growth_bytes(314_000 * 1024) == 0


def test_resetting_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    process_memory.reset_peak_bytes()
    assert torch.equal(before, torch.get_rng_state())
