"""Kills at random moments, and flipped bits in random files. Slow.

BENCH_KILLS and BENCH_FLIPS set how many, BENCH_SEED which.
"""

import os
from pathlib import Path

import pytest

from tests.hostile import campaign, flips, kills

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("BENCH_SEED", "0"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in campaign.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_killed_at_any_moment_a_command_ends_as_an_undisturbed_one(place: Path) -> None:
    count = int(os.environ.get("BENCH_KILLS", "15"))
    outcomes = kills.kills(count, SEED, place)
    print(campaign.table(outcomes))
    assert outcomes.total() == count
    assert sum(n for (_, met), n in outcomes.items() if met == "in the stage") >= count / 2


def test_no_flipped_bit_is_used_in_silence(place: Path) -> None:
    count = int(os.environ.get("BENCH_FLIPS", "200"))
    campaign.make_suite(place)
    outcomes, silent = flips.flip(count, SEED, place)
    print(campaign.table(outcomes))
    assert not silent
    assert outcomes.total() == count
