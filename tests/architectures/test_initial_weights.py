"""Pin initial weights: the same configuration and seed give the same weights for good."""

import hashlib
from pathlib import Path

import pytest
import torch
import yaml

from bench.model import build_model
from tests.conftest import ROOT

# of names, shapes and values of the state dict at width 32, context 32, 100 tokens, seed 0
DIGESTS = {
    "cnn": "a79ca8c9f7aefd60",
    "gla": "8e16e59c54637d55",
    "gpt": "d36d99d1a6db7187",
    "mamba2": "6fa6fd9dc124aabe",
    "moe": "1ce818799f1336d0",
    "rnn": "49e3ec946c61fd57",
    "rwkv7": "01761b625ac5e833",
    "transformer": "98994469749254d7",
    "xlstm": "a30aa4b33cd6ed3e",
}


def digest(path: Path) -> str:
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    sha = hashlib.sha256()
    for name, value in build_model(arch, 32, 32, 100, seed=0).state_dict().items():
        sha.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        sha.update(value.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]


@pytest.mark.parametrize("name", DIGESTS)
def test_initial_weights_do_not_change(name: str) -> None:
    assert digest(ROOT / "conf" / "arch" / f"{name}.yaml") == DIGESTS[name]
