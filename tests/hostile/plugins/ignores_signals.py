# run: changes-process · score: none · check: none
"""Ignore the signal by which a batch system asks to end."""

import signal
from typing import Any

from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return super().forward(x, state)
