"""Recurrent networks of torch.nn's fused cells: LSTM, GRU, Elman."""

import copy
import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from architectures.interface import Backbone
from architectures.layers import drop

# weights that were cast never are
warnings.filterwarnings("ignore", message="RNN module weights are not part of single")
CUDNN_BFLOAT16 = 91300  # the version of cuDNN from which torch runs cells in bfloat16
# the class, and how many D×2D maps a layer has
CELLS = {"lstm": (nn.LSTM, 4), "gru": (nn.GRU, 3), "elman": (nn.RNN, 1)}
FUNCTIONAL_CELLS: dict[int, Any] = {  # by maps
    4: torch._VF.lstm,
    3: torch._VF.gru,
    1: torch._VF.rnn_tanh,
}


def cuda_autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Return the precision of autocast on CUDA; None elsewhere, where torch follows autocast."""
    if x.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda")
    return None


def cell_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the precision of cells on CUDA: float32 where cuDNN has no bfloat16."""
    old = (torch.backends.cudnn.version() or 0) < CUDNN_BFLOAT16
    return torch.float32 if dtype == torch.bfloat16 and old else dtype


class RNN(Backbone):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735).

    With forget gates (Gers 2000). `cell=gru`: gated recurrent units (Cho et al. 2014,
    arXiv:1406.1078). `cell=elman`: a tanh of input and last output (Elman 1990,
    doi:10.1207/s15516709cog1402_1).
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
        between = dropout if layers > 1 else 0.0  # torch warns of it where there is one layer
        self.cells: nn.RNNBase = kind(width, width, layers, batch_first=True, dropout=between)
        self.dropout = dropout
        # cells of another precision, and the output that they left; no part of the model
        self.kept: tuple[nn.RNNBase, Tensor] | None = None

    def forward(
        self, x: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        x = drop(x, self.dropout, self.training)
        if (dtype := cuda_autocast_dtype(x)) is not None:
            mixed, after = self.on_cuda(x, state, dtype)
        elif self.takes_lstm_step(x, state):
            mixed, after = self.lstm_step(x, state)
        else:
            mixed, after = self.cells(x, state)  # (B, T, D) -> (B, T, D)
        if state is None:
            return mixed, None
        pairs = zip(self.parts(after), self.parts(state), strict=True)
        parts = [new.to(old.dtype) for new, old in pairs]
        self.kept = None if self.kept is None else (self.kept[0], parts[0])
        return mixed, self.join(parts)

    def parts(self, state: Any) -> list[Tensor]:
        """Return the last output, and an LSTM's memory."""
        return list(state) if self.maps == 4 else [state]

    def join(self, parts: list[Tensor]) -> Any:
        """Return the state of its parts."""
        return tuple(parts) if self.maps == 4 else parts[0]

    def takes_lstm_step(self, x: Tensor, state: Any) -> bool:
        """Say whether this is an LSTM that decodes one token on a CPU."""
        one_token = x.shape[1] == 1 and state is not None and not self.training
        return self.maps == 4 and one_token and x.device.type == "cpu"

    def lstm_step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Run an LSTM on one token, (B, 1, D) -> (B, 1, D), without dropout.

        The fused kernel of longer texts arranges its weights anew at each call.
        """
        x, after = x[:, 0], []
        for layer, weights in enumerate(self.cells.all_weights):
            after.append(torch._VF.lstm_cell(x, [part[layer] for part in state], *weights))
            x = after[-1][0]
        outputs, memories = zip(*after, strict=True)
        return x.unsqueeze(1), (torch.stack(outputs), torch.stack(memories))  # each (layers, B, D)

    def on_cuda(self, x: Tensor, state: Any, dtype: torch.dtype) -> tuple[Tensor, Any]:
        """Run the cells in the precision of autocast; torch's own autocast takes float16 for them.

        In float32 where cuDNN has no bfloat16: torch would step from token to token. Without
        gradients the cells are cast once per text, and not for every decoded token.
        """
        dtype = cell_dtype(dtype)
        start = self.init_state(len(x), 0, x) if state is None else state
        before = self.join([part.to(dtype) for part in self.parts(start)])
        with torch.autocast("cuda", enabled=False):
            if not torch.is_grad_enabled():
                return self.cast_cells(dtype, state)(x.to(dtype), before)
            cells, self.kept = self.cells, None
            weights = [weight.to(dtype) for weight in cells.parameters()]
            # biases, layers, dropout, training, bidirectional, batch first
            options = (True, cells.num_layers, cells.dropout, self.training, False, True)
            run = FUNCTIONAL_CELLS[self.maps]
            mixed, *after = run(x.to(dtype), before, weights, *options)
        return mixed, self.join(after)

    def cast_cells(self, dtype: torch.dtype, state: Any) -> nn.RNNBase:
        """Return the cells in a precision, cast anew unless the state is what they left last.

        Between texts the weights may have changed without a trace: a fused optimizer counts no
        versions.
        """
        if state is None or self.kept is None or self.parts(state)[0] is not self.kept[1]:
            cells = copy.deepcopy(self.cells).to(dtype)
            cells.flatten_parameters()
            self.kept = None if state is None else (cells, self.parts(state)[0])
            return cells.train(self.training)
        return self.kept[0].train(self.training)

    def init_state(self, batch: int, length: int, like: Tensor) -> Any:
        """Return the last output of each layer, (layers, B, D), and an LSTM's memory, as large."""
        vectors = like.new_zeros(self.cells.num_layers, batch, self.width)
        return (vectors, vectors.clone()) if self.maps == 4 else vectors

    @torch.no_grad()
    def initialise(self) -> None:
        """Set the bias of an LSTM's forget gates to 1 (Jozefowicz, Zaremba & Sutskever 2015)."""
        if self.maps == 4:
            for layer in range(self.cells.num_layers):
                getattr(self.cells, f"bias_ih_l{layer}")[self.width : 2 * self.width] = 1.0

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer 4·D² for each map: LSTM 16·D², GRU 12·D², Elman 4·D², for any T."""
        return self.cells.num_layers * self.maps * 4 * self.width**2
