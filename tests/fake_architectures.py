"""Define architectures that fail one check of the contract each, and some that pass it."""

import copy
import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone, Unsupported


class Valid(Backbone):
    """Pass every check: a small causal convolution. The others change one thing of it."""

    causal = True

    def __init__(self, width: int, context: int, kernel: int = 3) -> None:
        super().__init__(width, context)
        self.kernel = kernel
        self.convolution = nn.Conv1d(width, width, kernel)
        self.hidden = nn.Linear(width, 4 * width)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        past = x.new_zeros(x.shape[0], self.kernel - 1, self.width) if state is None else state
        inputs = torch.cat([past, x], dim=1)  # (B, past + T, D)
        x = x + self.convolution(inputs.transpose(1, 2)).transpose(1, 2)
        x = x + self.out(functional.gelu(self.hidden(x)))
        return x, None if state is None else inputs[:, inputs.shape[1] - self.kernel + 1 :]

    def init_state(self, batch: int, length: int, like: Tensor) -> Any:
        return like.new_zeros(batch, self.kernel - 1, self.width)

    def flops(self, length: int, full_mask: bool = False) -> float:
        return (2 * self.kernel + 16) * self.width**2


class LooksAhead(Valid):
    """Pad a convolution on both sides, and declare it causal."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        inputs = functional.pad(x.transpose(1, 2), (1, 1))  # (B, D, 1 + T + 1)
        return x + self.convolution(inputs).transpose(1, 2), None


class LooksAheadFar(Valid):
    """Let the last token reach the first, and no other."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return mixed + functional.pad(1e-3 * x[:, -1:], (0, 0, 0, x.shape[1] - 1)), after


class LooksAheadBehindANorm(Valid):
    """See the next token through a norm, which hides a constant added to it."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        following = functional.pad(x[:, 1:], (0, 0, 0, 1))
        return mixed + 0.1 * functional.layer_norm(following, (self.width,)), after


class LooksAheadAcrossChunks(Valid):
    """See the first token of the next chunk of 64, which a short text does not show."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        following = functional.pad(x[:, 1:], (0, 0, 0, 1))
        last = torch.arange(x.shape[1]) % 64 == 63  # (T,)
        return mixed + 0.1 * following * last[:, None], after


class OnlyClaimsBothWays(Valid):
    causal = False


class WrongShape(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        return super().forward(x, state)[0][:, 1:], None


class WrongType(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        return super().forward(x, state)[0].double(), None


class NotFinite(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        return super().forward(x, state)[0] / 0.0, None


class NoPair(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Tensor | None = None) -> Any:
        return super().forward(x, state)[0]


class Raises(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        raise RuntimeError("not written yet")


class MixesRows(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return mixed - x.mean(dim=0, keepdim=True), after


class LosesGradients(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        with torch.no_grad():
            mixed, after = super().forward(x, state)
        return x + mixed, after


class HoldsLayersInAList(Valid):
    """Keep a layer outside the model: it is not counted, trained or saved."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__(width, context)
        self.layers = [nn.Linear(width, width)]

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return mixed + self.layers[0](mixed), after


class LooksAtPadding(Valid):
    """Ignore that some tokens are padding."""

    causal = False

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        return super().forward(x)[0] + x.mean(dim=1, keepdim=True), None


class ForgetsItsState(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        return super().forward(x)[0], state


class GrowsItsState(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        if state is None:
            return super().forward(x)
        mixed, _ = super().forward(x, state[:, state.shape[1] - self.kernel + 1 :])
        return mixed, torch.cat([state, x], dim=1)


class ForgetsAcrossChunks(Valid):
    """Lose the state after a piece of more than 32 tokens."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return mixed, after if state is None or x.shape[1] <= 32 else torch.zeros_like(after)


class ReturnsNoState(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        return super().forward(x, state)[0], None


class RefusesWithoutAReason(Valid):
    def init_state(self, batch: int, length: int, like: Tensor) -> Any:
        raise Unsupported


class DrawsInEvaluation(Valid):
    """Add noise in evaluation, too."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return mixed + 0.01 * torch.randn_like(mixed), after


class DrawsOutside(Valid):
    """Add noise from a generator that no seed reaches."""

    dice = random.Random(0)

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return mixed * (1 + 0.01 * self.dice.random()), after


class HidesWeights(Valid):
    """Use a tensor that is neither parameter nor buffer, and is not saved."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__(width, context)
        self.hidden_scale = torch.randn(width)

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        return super().forward(x * self.hidden_scale.to(x.dtype), state)


class KeepsItsWeights(Valid):
    """Copy weights for evaluation whenever their version changes, which fused optimizers skip."""

    copies: tuple[list[int], nn.Module] | None = None

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        versions = [self.out.weight._version]
        if torch.is_grad_enabled():
            last: nn.Module = self.out
        elif self.copies is not None and self.copies[0] == versions:
            last = self.copies[1].to(x.dtype)
        else:
            last = copy.deepcopy(self.out)
            self.copies = versions, last
        return mixed + last(functional.gelu(self.hidden(x))), after


class GrowsInForward(Valid):
    """Make parameters after they were counted."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        if not hasattr(self, "late"):
            self.late = nn.Linear(self.width, 40 * self.width).to(x.dtype)
        mixed, after = super().forward(x, state)
        return mixed + self.late(x)[..., : self.width], after


class Understates(Valid):
    def flops(self, length: int, full_mask: bool = False) -> float:
        return 0.5 * super().flops(length)


class CannotLearn(Valid):
    """Let gradients reach every parameter, and almost nothing of the text the output."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return 1 + 1e-6 * mixed, after


class CannotBeSaved(Valid):
    """Save a state that cannot be loaded without running code."""

    def get_extra_state(self) -> Any:
        return random.Random(0)

    def set_extra_state(self, state: Any) -> None:
        pass


class StaysInPython(Valid):
    """Forbid to compile anything."""

    @torch.compiler.disable
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        return super().forward(x, state)


class BranchesOnValues(Valid):
    """Branch on values in Python, so that it traces in two graphs."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return (mixed + 1 if x.sum() > 0 else mixed - 1), after


class DoesNotTrace(Valid):
    """Compute something else while it is traced."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return mixed + 1 if torch.compiler.is_compiling() else mixed, after


class NoNumbers(Valid):
    """Fail for every width."""

    def __init__(self, width: int, context: int) -> None:
        raise RuntimeError("where is my file?")


class OnlySixtyFour(Valid):
    """Accept multiples of 64 only."""

    def __init__(self, width: int, context: int) -> None:
        if width % 64:
            raise ValueError(f"width={width} is no multiple of 64")
        super().__init__(width, context)


class NoWidth(Valid):
    def __init__(self, width: int, context: int) -> None:
        raise ValueError("I accept none")


class NoBackbone(nn.Module):
    pass


class ByFourier(Valid):
    """Convolve causally by FFT: the rounding of every output depends on the whole text."""

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        T = x.shape[1]
        decay = 0.9 ** torch.arange(T, dtype=x.dtype)[:, None]  # (T, 1)
        mixed = torch.fft.irfft(
            torch.fft.rfft(x, 2 * T, dim=1) * torch.fft.rfft(decay, 2 * T, dim=0), 2 * T, dim=1
        )
        return super().forward(mixed[:, :T])[0], None
