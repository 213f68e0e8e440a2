"""The model around an architecture, the same for all: embedding, backbone, one final norm, tied head."""

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone, State, Unsupported
from architectures.layers import RMSNorm
from bench import machine
from bench.config import Mistake, Size, nearest, options
from bench.installed import how_to_install
from bench.limits import CHOICES

EMBEDDING_DEVIATION = 0.02
MATRIX_GAIN = 0.5  # with 1, attention without normed queries and keys trains badly at a high rate; 0.25 was no better
WIDEST = 1 << 20


class CannotBuild(Mistake):
    """An architecture that can not be made or trained. In a sweep it is this cell that fails, not the command."""


class LanguageModel(nn.Module):
    """(B, T) token numbers -> (B, T, V) logits. All but the backbone is the same for every architecture.

    The last row of the embedding is <mask>: it can be read, never predicted.
    """

    def __init__(self, backbone: Backbone, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, backbone.width)
        self.backbone = backbone
        self.norm = RMSNorm(backbone.width)

    @property
    def mask(self) -> int:
        """The number of the <mask> token."""
        return self.vocabulary

    def hidden(self, tokens: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State | None]:
        """(B, T) -> (B, T, D), ready for the head; and the next state."""
        mixed, after = self.backbone(torch.embedding(self.embedding.weight, tokens), state, lengths)
        return self.norm(mixed), after

    @property
    def head_weight(self) -> Tensor:
        """(V, D): the embedding read backwards, without the row of <mask>."""
        return self.embedding.weight.narrow(0, 0, self.vocabulary)

    def head(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        return functional.linear(hidden, self.head_weight)

    def forward(self, tokens: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State | None]:
        """(B, T) -> (B, T, V), and the next state."""
        hidden, after = self.hidden(tokens, state, lengths)
        return self.head(hidden), after

    def init_state(self, batch: int, length: int) -> State:
        """An empty state for up to `length` tokens. Raises Unsupported where the architecture keeps none."""
        return self.backbone.init_state(batch, length, self.embedding.weight)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Forward FLOPs a token: the backbone's, and 2·D·V for the head. A training step costs three times as much."""
        mixing = self.backbone.flops(length, full_mask) + self.backbone.unchecked_flops(length)
        return mixing + 2 * self.backbone.width * self.vocabulary


# --- from a YAML to a class -------------------------------------------------------------------------------------------


def constructor(arch: Mapping[str, Any]) -> type[Backbone]:
    """The class that `_target_` names, with its options checked. Raises Mistake, or CannotBuild where it does not import."""
    target = str(arch["_target_"])
    module, _, name = target.rpartition(".")
    if not module:
        raise CannotBuild(f"_target_: {target} names no module: write it as in my_module.{target}")
    try:
        made = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module of the user's raises while it is imported
        raise CannotBuild(f"_target_: {target} does not import: {_told(error)}") from None
    if not (isinstance(made, type) and issubclass(made, Backbone)):
        raise CannotBuild(f"_target_: {target} is no architectures.interface.Backbone: derive its class from that")
    _check_options(made, options(arch))
    return made


def _check_options(made: type[Backbone], given: Mapping[str, Any]) -> None:
    """Raise Mistake for an option that the class does not take, lacks, or takes as another type."""
    parameters = dict(list(inspect.signature(made).parameters.items())[2:])  # the harness gives the first two
    kinds = inspect.Parameter
    named = {name: p for name, p in parameters.items() if p.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)}
    takes_any = any(p.kind is kinds.VAR_KEYWORD for p in parameters.values())
    for name, value in given.items():
        if name in ("width", "context"):
            raise Mistake(f"arch.{name} is solved and given by the harness: set size.parameters or size.context instead")
        if name not in named and not takes_any:
            raise Mistake(f"arch.{name} is no option of {made.__name__}; {nearest(name, named)}")
        if name in named:
            _check_type(f"arch.{name}", value, named[name].annotation)
    missing = [name for name, p in named.items() if p.default is kinds.empty and name not in given]
    if missing:
        raise Mistake(f"{made.__name__} needs arch.{missing[0]}: add it to its YAML")


def _check_type(path: str, value: Any, kind: Any) -> None:
    """Raise Mistake where a plain annotation (int, float, bool, str, Literal) does not hold."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise Mistake(f"{path}={value} is not known; {nearest(str(value), map(str, get_args(kind)))}")
    if kind not in words:
        return
    fits = isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise Mistake(f"{path}={value} must be {words[kind]}")


def _not_made(made: type[Backbone], width: int, error: Exception) -> CannotBuild:
    return CannotBuild(f"{made.__name__} with width {width} was not made: {_told(error)}")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {_line(error)}{how_to_install(error)}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or "no message"


# --- initial values ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def initialise(model: LanguageModel) -> None:
    """The one rule of initial values: matrices and kernels normal with deviation 1/(2·√inputs), embeddings 0.02, biases zero.

    What else has one dimension (the weights of norms) stays as its constructor made it. Then the architecture may
    complete it for what the rule does not suit.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, parameter in model.named_parameters():
        if id(parameter) in tables:
            parameter.normal_(0.0, EMBEDDING_DEVIATION)
        elif parameter.dim() >= 2:
            parameter.normal_(0.0, MATRIX_GAIN / math.sqrt(parameter[0].numel()))
        elif "bias" in name.rpartition(".")[2]:
            parameter.zero_()
    model.backbone.initialise()


def build(
    arch: Mapping[str, Any], width: int, context: int, vocabulary: int, seed: int, device: str | torch.device = "cpu"
) -> LanguageModel:
    """A model with initial values that depend on the seed alone: drawn on the CPU, then moved. Raises CannotBuild."""
    made = constructor(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = LanguageModel(made(width, context, **options(arch)), vocabulary)
        except Exception as error:
            raise _not_made(made, width, error) from None
        initialise(model)
    return model.to(device)


# --- the width for a budget of parameters -----------------------------------------------------------------------------


def fitting_width(arch: Mapping[str, Any], size: Size, vocabulary: int) -> int:
    """The largest width within the budget, whatever that counts. Raises CannotBuild, or Unsupported where no state is kept."""
    if size.match == "parameters":
        return solve_width(arch, size.parameters, size.context, vocabulary, size.count)
    width = solve_width(arch, size.state_bytes, size.context, vocabulary, "state")
    parameters = count(sketch(arch, width, size.context, vocabulary))["parameters"]
    if 16 * parameters > machine.memory_bytes():  # weights, gradients, two moments
        said = f"size.state_bytes={size.state_bytes:,} gives {constructor(arch).__name__} a width of {width:,}"
        raise CannotBuild(f"{said}, {parameters:,} parameters: more than this machine can train; lower it")
    return width


def solve_width(arch: Mapping[str, Any], budget: int, context: int, vocabulary: int, counted: str = "all") -> int:
    """The largest width that the architecture accepts with at most `budget` parameters, or bytes of state, as `counted` says.

    Offered are even widths from 128 on, fours from 256, eights from 512: matrices that a processor likes, in steps of
    3 % of the parameters at most. Raises CannotBuild where none fits.
    """
    made = constructor(arch)
    size = cache(partial(_size, made, options(arch), context, vocabulary, counted))
    # wider, and the embedding alone, or a byte of each channel, would exceed the budget
    ceiling = min(WIDEST, budget // (vocabulary + 1 if counted == "all" else 1))
    best, low, high, guess, tries = 0, 1, ceiling, math.isqrt(ceiling), 0
    while low <= high:  # parameters grow with width: each probe narrows the range
        tries += 1
        width = (low + high) // 2 if tries % 3 == 0 else min(max(guess, low), high)
        probe = next((w for w in range(width, low - 1, -1) if offered(w) and isinstance(size(w), int)), None)
        if probe is not None:
            guess = int(probe * math.sqrt(budget / int(size(probe))))  # nearly with its square
        if probe is not None and int(size(probe)) <= budget:
            best = probe
        elif probe is not None:
            high = probe - 1
            continue
        low = width + 1
    if best:
        return best
    raise CannotBuild(_too_small(made, budget, size, counted))


def sketch(arch: Mapping[str, Any], width: int, context: int, vocabulary: int) -> LanguageModel:
    """A model to be counted: nothing of it is allocated. Raises what its constructor raises."""
    with torch.device("meta"):
        return LanguageModel(constructor(arch)(width, context, **options(arch)), vocabulary)


def offered(width: int) -> bool:
    """Whether the harness offers this width to an architecture."""
    return width % (8 if width >= 512 else 4 if width >= 256 else 2 if width >= 128 else 1) == 0


def _size(made: type[Backbone], given: Mapping[str, Any], context: int, vocabulary: int, counted: str, width: int) -> int | str:
    """How many parameters, or bytes of state, this width has, or why it is not accepted. Nothing is allocated."""
    try:
        with torch.device("meta"):
            model = LanguageModel(made(width, context, **given), vocabulary)
    except ValueError as error:
        return _line(error)
    except Exception as error:
        raise _not_made(made, width, error) from None
    return state_bytes(model, context) if counted == "state" else count(model)[COUNTS[counted]]


def state_bytes(model: LanguageModel, context: int) -> int:
    """Bytes that decoding keeps of one sequence at the full context. Raises Unsupported where the architecture keeps none."""
    with torch.device(model.head_weight.device):
        kept = model.backbone.state_bytes(model.init_state(1, context))
    if not kept:
        raise Unsupported(f"{type(model.backbone).__name__} keeps no state: size.match=state has nothing to match")
    return kept


COUNTS = {name: "parameters" if name == "all" else f"parameters_{name}" for name in CHOICES["size.count"]}


def _too_small(made: type[Backbone], budget: int, size: Callable[[int], int | str], counted: str) -> str:
    """Why no width fits: the smallest that there is, or the reason why none is accepted."""
    reason: int | str = ""
    for width in filter(offered, range(1, 1025)):
        reason = size(width)
        if isinstance(reason, int):
            key = "size.state_bytes" if counted == "state" else "size.parameters"
            return f"{key}={budget:,} is too small for {made.__name__}: its smallest, width {width}, has {reason:,}"
    return f"{made.__name__} accepts no width up to 1024: {reason}"


def count(model: LanguageModel) -> dict[str, int]:
    """Parameters four ways: all, without embeddings (of tokens and of positions), in matrix products, and active ones.

    Those in products are the backbone's matrices and kernels, and the head, which is the embedding used a second time. Active
    are those that one token passes through: all, but for the experts that it is not sent to.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    products = [p for p in model.backbone.parameters() if p.dim() >= 2 and id(p) not in tables]
    resting = sum(p.numel() for p in model.backbone.parameters()) - model.backbone.active_parameters()
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "parameters_active": sum(p.numel() for p in model.parameters()) - resting,
        "parameters_without_embedding": sum(p.numel() for p in model.parameters() if id(p) not in tables),
        "parameters_in_products": sum(p.numel() for p in products) + model.vocabulary * model.backbone.width,
    }
