"""Linear attention and state space models: each against its paper's recurrence or others' code, whatever the chunk length."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.short_convolution import ShiftedSum, ShortConvolution


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- the short convolution --------------------------------------------------------------------------------------------


def test_short_convolution_parity_with_torch() -> None:
    ours, theirs = ShortConvolution(6, 4).double(), nn.Conv1d(6, 6, 4, groups=6).double()
    theirs.load_state_dict({"weight": ours.weight[:, None], "bias": ours.bias + 0.3})
    ours.bias.data.add_(0.3)
    x = random(2, 9, 6)
    expected = theirs(functional.pad(x.mT, (3, 0))).mT
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-12)
    past, parts = ours.init_state(2, x), []
    for piece in x.split((2, 1, 1, 5), dim=1):
        mixed, past = ours(piece, past)
        parts.append(mixed)
        assert past.shape == (2, 3, 6)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=1e-12)


def test_short_convolution_has_the_gradient_of_its_sums() -> None:
    for bias in (random(3, seed=2), random(1, seed=2)[0]):  # a vector, and the zero that stands for none
        arguments = [each.detach().requires_grad_() for each in (random(2, 7, 3), random(4, 3, seed=1), bias)]
        assert torch.autograd.gradcheck(ShiftedSum.apply, arguments)


def test_short_convolution_is_traced() -> None:
    convolution, x = ShortConvolution(3, 4, bias=False).double(), random(2, 9, 3)
    traced = torch.compile(convolution, backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(x)[0], convolution(x)[0], rtol=0, atol=0)
    traced(x)[0].sum().backward()
    assert convolution.weight.grad is not None
