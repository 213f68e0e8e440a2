"""Recurrent networks of torch.nn's fused cells: LSTM, GRU, Elman."""

import copy
import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from architectures.interface import Backbone
from architectures.layers import drop

warnings.filterwarnings(
    "ignore", message="RNN module weights are not part of single"
)  # weights that were cast never are
FUNCTIONAL_CELLS: dict[int, Any] = {
    4: torch._VF.lstm,
    3: torch._VF.gru,
    1: torch._VF.rnn_tanh,
}  # by maps
CUDNN_BFLOAT16 = 91300  # the version of cuDNN from which torch has it compute cells in bfloat16
CELLS = {
    "lstm": (nn.LSTM, 4),
    "gru": (nn.GRU, 3),
    "elman": (nn.RNN, 1),
}  # the class, and how many D×2D maps a layer has


def cuda_autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The precision that autocast asks of cells on CUDA; None elsewhere, where what torch does is what was asked for."""
    return (
        torch.get_autocast_dtype("cuda")
        if x.device.type == "cuda" and torch.is_autocast_enabled("cuda")
        else None
    )


class RNN(Backbone):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735) with forget gates (Gers 2000).

    `cell=gru`: gated recurrent units (Cho et al. 2014, arXiv:1406.1078). `cell=elman`: a tanh of input and last output
    (Elman 1990, doi:10.1207/s15516709cog1402_1).
    """

    causal = True

    def __init__(
        self,
        width: int,
        context: int,
        layers: int = 2,
        cell: Literal["lstm", "gru", "elman"] = "lstm",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        kind, self.maps = CELLS[cell]
        between = (
            dropout if layers > 1 else 0.0
        )  # torch warns of dropout between layers where there is one layer
        self.cells: nn.RNNBase = kind(width, width, layers, batch_first=True, dropout=between)
        self.dropout = dropout
        self.kept: tuple[nn.RNNBase, Tensor] | None = (
            None  # cells of another precision, and what they left; no part of the model
        )

    def forward(
        self, x: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        x = drop(x, self.dropout, self.training)
        if (dtype := cuda_autocast_dtype(x)) is not None:
            mixed, after = self.on_cuda(x, state, dtype)
        else:
            mixed, after = self.cells(x, state)  # (B, T, D) -> (B, T, D)
        if state is None:
            return mixed, None
        parts = [
            new.to(old.dtype) for new, old in zip(*map(self.parts, (after, state)), strict=True)
        ]
        self.kept = None if self.kept is None else (self.kept[0], parts[0])
        return mixed, self.whole(parts)

    def parts(self, state: Any) -> list[Tensor]:
        """The last output, and an LSTM's memory."""
        return list(state) if self.maps == 4 else [state]

    def whole(self, parts: list[Tensor]) -> Any:
        return tuple(parts) if self.maps == 4 else parts[0]

    def on_cuda(self, x: Tensor, state: Any, dtype: torch.dtype) -> tuple[Tensor, Any]:
        """The cells in the precision of autocast: torch's own autocast of them takes float16, whatever was asked for.

        In float32 where cuDNN has none in bfloat16: torch would step from token to token. Where nothing is trained the cells
        are made once a text, and no token that is written pays for it.
        """
        if dtype == torch.bfloat16 and (torch.backends.cudnn.version() or 0) < CUDNN_BFLOAT16:
            dtype = torch.float32
        before = self.whole(
            [
                part.to(dtype)
                for part in self.parts(self.init_state(len(x), 0, x) if state is None else state)
            ]
        )
        with torch.autocast("cuda", enabled=False):
            if not torch.is_grad_enabled():
                return self.made_in(dtype, state)(x.to(dtype), before)
            cells, self.kept = self.cells, None
            weights = [weight.to(dtype) for weight in cells.parameters()]
            how = (
                True,
                cells.num_layers,
                cells.dropout,
                self.training,
                False,
                True,
            )  # biases …, one direction, batch first
            mixed, *after = FUNCTIONAL_CELLS[self.maps](x.to(dtype), before, weights, *how)
        return mixed, self.whole(after)

    def made_in(self, dtype: torch.dtype, state: Any) -> nn.RNNBase:
        """The cells in a precision, made anew unless the state is what they left last.

        From text to text the weights may have changed, and nothing tells of it: a fused optimizer counts no versions.
        """
        if state is None or self.kept is None or self.parts(state)[0] is not self.kept[1]:
            cells = copy.deepcopy(self.cells).to(dtype)
            cells.flatten_parameters()
            self.kept = None if state is None else (cells, self.parts(state)[0])
            return cells.train(self.training)
        return self.kept[0].train(self.training)

    def init_state(self, batch: int, length: int, like: Tensor) -> Any:
        """The last output of each layer, (layers, B, D), and for an LSTM its memory, as large again."""
        vectors = like.new_zeros(self.cells.num_layers, batch, self.width)
        return (vectors, vectors.clone()) if self.maps == 4 else vectors

    @torch.no_grad()
    def initialise(self) -> None:
        """An LSTM starts by remembering: the bias of its forget gates is 1 (Jozefowicz, Zaremba & Sutskever 2015)."""
        if self.maps == 4:
            for layer in range(self.cells.num_layers):
                getattr(self.cells, f"bias_ih_l{layer}")[self.width : 2 * self.width] = 1.0

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: 2·2·D² for each map of input and last output: LSTM 16·D², GRU 12·D², Elman 4·D². The same for any T."""
        return self.cells.num_layers * self.maps * 4 * self.width**2
