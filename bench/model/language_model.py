"""The model around an architecture, the same for all: embedding, backbone, one final norm, tied head."""

import importlib
import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone, State
from architectures.layers import LightModule, RMSNorm
from bench.config.errors import UserError, nearest
from bench.config.plugins import install_hint
from bench.config.schema import constructor_options

EMBEDDING_STD = 0.02
MATRIX_GAIN = 0.5  # with 1, attention without normed queries and keys trains badly at a high rate; 0.25 was no better


PLUGIN_ERRORS = (
    Exception,
    SystemExit,
)  # whatever a user's module may raise: sys.exit in it must not end the command, least of all well


class ModelBuildError(UserError):
    """An architecture that can not be made or trained. In a sweep it is this cell that fails, not the command."""


class LanguageModel(LightModule):
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

    def hidden(
        self, tokens: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
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

    def forward(
        self, tokens: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """(B, T) -> (B, T, V), and the next state."""
        hidden, after = self.hidden(tokens, state, lengths)
        # the whole table, then a view: of a view of the table autocast would make a fresh copy for every token that is written
        return functional.linear(hidden, self.embedding.weight).narrow(
            -1, 0, self.vocabulary
        ), after

    def init_state(self, batch: int, length: int) -> State:
        """An empty state for up to `length` tokens. Raises Unsupported where the architecture keeps none."""
        return self.backbone.init_state(batch, length, self.embedding.weight)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Forward FLOPs a token: the backbone's, and 2·D·V for the head. A training step costs three times as much."""
        mixing = self.backbone.flops(length, full_mask) + self.backbone.unchecked_flops(length)
        return mixing + 2 * self.backbone.width * self.vocabulary


# --- from a YAML to a class -------------------------------------------------------------------------------------------


def backbone_class(arch: Mapping[str, Any]) -> type[Backbone]:
    """The class that `_target_` names, with its options checked. Raises UserError, or CannotBuild where it does not import."""
    target = str(arch["_target_"])
    module, _, name = target.rpartition(".")
    if not module:
        raise ModelBuildError(
            f"_target_: {target} names no module: write it as in my_module.{target}"
        )
    try:
        made = getattr(importlib.import_module(module), name)
    except PLUGIN_ERRORS as error:
        raise ModelBuildError(
            f"_target_: {target} does not import: {describe_error(error)}{install_hint(error)}"
        ) from None
    if not (isinstance(made, type) and issubclass(made, Backbone)):
        raise ModelBuildError(
            f"_target_: {target} is no architectures.interface.Backbone: derive its class from that"
        )
    _check_options(made, constructor_options(arch))
    return made


def _check_options(made: type[Backbone], given: Mapping[str, Any]) -> None:
    """Raise UserError for an option that the class does not take, lacks, or takes as another type."""
    parameters = dict(
        list(inspect.signature(made).parameters.items())[2:]
    )  # the harness gives the first two
    kinds = inspect.Parameter
    named = {
        name: p
        for name, p in parameters.items()
        if p.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)
    }
    takes_any = any(p.kind is kinds.VAR_KEYWORD for p in parameters.values())
    for name, value in given.items():
        if name in ("width", "context"):
            raise UserError(
                f"arch.{name} is solved and given by the harness: set size.parameters or size.context instead"
            )
        if name not in named and not takes_any:
            raise UserError(f"arch.{name} is no option of {made.__name__}; {nearest(name, named)}")
        if name in named:
            _check_type(f"arch.{name}", value, named[name].annotation)
    missing = [name for name, p in named.items() if p.default is kinds.empty and name not in given]
    if missing:
        raise UserError(f"{made.__name__} needs arch.{missing[0]}: add it to its YAML")


def _check_type(path: str, value: Any, kind: Any) -> None:
    """Raise UserError where a plain annotation (int, float, bool, str, Literal) does not hold."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise UserError(
            f"{path}={value} is not known; {nearest(str(value), map(str, get_args(kind)))}"
        )
    if kind not in words:
        return
    fits = isinstance(value, (int, float) if kind is float else kind) and (
        kind is bool or not isinstance(value, bool)
    )
    if not fits:
        raise UserError(f"{path}={value} must be {words[kind]}")


def build_error(made: type[Backbone], width: int, error: BaseException) -> ModelBuildError:
    return ModelBuildError(
        f"{made.__name__} with width {width} was not made: {describe_error(error)}{install_hint(error)}"
    )


def describe_error(error: BaseException) -> str:
    """What somebody else's code raised, in one line."""
    said = (
        f"it called sys.exit({'' if error.code is None else error.code})"
        if isinstance(error, SystemExit)
        else one_line(error)
    )
    return f"{type(error).__name__}: {said[:300]}"


def one_line(error: BaseException) -> str:
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
            parameter.normal_(0.0, EMBEDDING_STD)
        elif parameter.dim() >= 2:
            parameter.normal_(0.0, MATRIX_GAIN / math.sqrt(parameter[0].numel()))
        elif "bias" in name.rpartition(".")[2]:
            parameter.zero_()
    model.backbone.initialise()


def build_model(
    arch: Mapping[str, Any],
    width: int,
    context: int,
    vocabulary: int,
    seed: int,
    device: str | torch.device = "cpu",
) -> LanguageModel:
    """A model with initial values that depend on the seed alone: drawn on the CPU, then moved. Raises CannotBuild."""
    made = backbone_class(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = LanguageModel(made(width, context, **constructor_options(arch)), vocabulary)
            initialise(model)
        except PLUGIN_ERRORS as error:
            raise build_error(made, width, error) from None
    return model.to(device)
