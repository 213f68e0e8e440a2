"""Any transformers family that takes embeddings, at the solved width, with random weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from architectures.huggingface_cache import cache_keyword, empty_cache, held_bytes, run_on_meta
from architectures.huggingface_family import family
from architectures.huggingface_flops import forward_flops
from architectures.huggingface_pretrained import read_checkpoint
from architectures.interface import Backbone, PretrainedModel, Unsupported

TRIAL_PIECES = (2, 1, 1, 4)  # tokens on which a cache has to show that it continues a text
TRIAL_TOLERANCE = 0.05  # of what the tokens before a piece change in it; a lost cache is off by 1

ONLY_SCORED = "arch.pretrained names a checkpoint: bench.run scores it, and nothing else reads it"


@dataclass
class CacheState:
    """A family's own cache, how many tokens it holds, and the rows and tokens it was made for."""

    cache: Any  # None before the first token where the family makes its own
    position: int
    batch: int
    room: int


def copied_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters that are not on the meta device."""
    real = ((n, p) for n, p in model.named_parameters() if p.device.type != "meta")
    return {name: parameter.detach().clone() for name, parameter in real}


def declare_matrices(model: nn.Module) -> None:
    """Declare the weights of transformers' Conv1D: a linear map, though no nn.Linear."""
    for module in model.modules():
        if isinstance(module, Conv1D):
            vars(module)["parameter_kinds"] = {"weight": "matrix"}


class HuggingFace(Backbone):
    """Wolf et al. 2020, arXiv:1910.03771: `model_type` names a family of `transformers.AutoModel`.

    In its configuration width, layers, heads, head width and feed-forward follow the width as in
    the family's default; `multiples` sets further keys as multiples of the width, rounded to even
    numbers, `settings` any key as it is. The token embedding and the final norm are removed: the
    harness has both. It is causal where its attention is. Weights start by the harness's rule, all
    else as the family says.

    `pretrained`: a folder with a causal checkpoint, scored by its own tokenizer; all other options
    are then those of its config.json.

    `cache`: whether the family's cache takes `pieces` of several tokens on top of others, single
    `tokens` only (pieces are then fed one by one), or `none`. That is tried once per model.
    """

    sizes: dict[tuple[int, int, torch.dtype], int]  # of states, by rows, room and precision

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        context: int,
        model_type: str = "gpt2",
        layers: int = 4,
        heads: int = 4,
        settings: Mapping[str, Any] | None = None,
        multiples: Mapping[str, float] | None = None,
        cache: Literal["pieces", "tokens", "none"] = "pieces",
        dropout: float = 0.0,
        pretrained: str = "",
    ) -> None:
        super().__init__(width, context)
        if pretrained:
            raise TypeError(ONLY_SCORED)
        keys = {"settings": dict(settings or {}), "multiples": dict(multiples or {})}
        self.family = family(
            model_type=model_type, layers=layers, heads=heads, dropout=dropout, **keys
        )
        self.model, self.shape = self.family.build(width, context), self.family.shape
        self.causal, self.cache = self.shape.causal, cache
        self.cache_name = cache_keyword(self.model)
        # why it keeps no state, once that was tried; empty where it keeps one
        self.refusal: str | None = None
        self.sizes = {}
        self.own = copied_parameters(self.model)
        declare_matrices(self.model)

    def forward(
        self, x: Tensor, state: CacheState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, CacheState | None]:
        end = x.shape[1] + (0 if state is None else state.position)
        if self.shape.tables and end > self.context:
            raise ValueError(
                f"{self.family.model_type} learned positions for its context of {self.context} "
                f"tokens, and cannot read token {end}"
            )
        if state is not None:
            return self._continue(x, state, end)
        options = {}
        if lengths is not None and not self.causal:  # (B, T)
            positions = torch.arange(x.shape[1], device=x.device)
            options = {"attention_mask": positions < lengths[:, None]}
        return self.model(inputs_embeds=x, **options)[0], None

    def _continue(self, x: Tensor, state: CacheState, end: int) -> tuple[Tensor, CacheState]:
        if self.shape.attention and end > state.room:
            raise ValueError(
                f"the state has room for {state.room} tokens, and token {end} was given: "
                "ask for a longer one"
            )
        single = self.cache == "tokens" and state.position
        mixed, cache = [], state.cache
        for piece in x.split(1, dim=1) if single else (x,):
            output = self.model(inputs_embeds=piece, use_cache=True, **{self.cache_name: cache})
            cache = output[self.cache_name]
            mixed.append(output[0])
        return torch.cat(mixed, dim=1), CacheState(cache, end, state.batch, state.room)

    def attention_weights(self, x: Tensor) -> list[Tensor]:
        """Return what the family gives as attentions; empty for one that gives none."""
        used = self.model.config._attn_implementation
        try:
            self.model.set_attn_implementation("eager")  # the others keep no weights
            output = self.model(inputs_embeds=x, output_attentions=True)
        finally:
            self.model.set_attn_implementation(used)
        layers = output.get("attentions") or ()
        return [layer[:, :, -1] for layer in layers if layer is not None]

    # --- the state ------------------------------------------------------------------------

    def init_state(self, batch: int, length: int, like: Tensor) -> CacheState:
        """Return the family's own cache, empty.

        Raise Unsupported where it has none, or where the cache does not continue a text.
        """
        if self.refusal is None:
            self.refusal = self._try_cache(like)
        if self.refusal:
            raise Unsupported(self.refusal)
        return CacheState(empty_cache(self.model, batch, like), 0, batch, length)

    def _try_cache(self, like: Tensor) -> str:
        """Return why it can keep no state; empty where its cache gives a full read's outputs."""
        name = self.family.model_type
        if not self.causal:
            return f"{name} reads the full text at once: it cannot decode token by token"
        if not self.cache_name:
            return f"{name} has no cache"
        if self.cache == "none":
            return f"the cache of {name} is not used"
        if like.is_meta:
            return ""  # nothing is computed there: only the size is needed
        training = self.training
        self.eval()
        try:
            with torch.no_grad(), torch.autocast(like.device.type, enabled=False):
                off = self._cache_error(like)
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            return f"the cache of {name} does not continue a text: {reason}"
        finally:
            self.train(training)
        if off < TRIAL_TOLERANCE:
            return ""
        instead = "tokens or none" if self.cache == "pieces" else "none"
        return (
            f"the cache of {name} does not continue a text (off by {off:.2g}): "
            f"use arch.cache={instead}"
        )

    def _cache_error(self, like: Tensor) -> float:
        """Return the error of reading in pieces, over that of reading the pieces separately."""
        generator, length = torch.Generator().manual_seed(0), sum(TRIAL_PIECES)
        x = torch.randn(2, length, self.width, generator=generator).to(like.device, like.dtype)
        expected, parts, separate = self(x)[0], [], []
        state = CacheState(empty_cache(self.model, 2, like), 0, 2, length)
        for piece in x.split(TRIAL_PIECES, dim=1):
            mixed, state = self(piece, state)
            parts.append(mixed)
            separate.append(self(piece)[0])  # as it is without the tokens before it
        scale = (torch.cat(separate, dim=1) - expected).abs().max()
        return ((torch.cat(parts, dim=1) - expected).abs().max() / scale).item()

    def state_bytes(self, state: CacheState) -> int:
        """Return the bytes of the tensors in the cache once it is full, without computing it."""
        dtype = next(self.model.parameters()).dtype
        key = (state.batch, state.room, dtype)
        if key not in self.sizes:
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                copy = self.family.build(self.width, self.context).to(dtype).eval()
                output = run_on_meta(copy, self.width, state.batch, state.room)
            self.sizes[key] = held_bytes(output[self.cache_name])
        return self.sizes[key]

    @classmethod
    def read_pretrained(cls, folder: Path) -> PretrainedModel:
        """Return the causal model of a checkpoint. Raise Unsupported."""
        return read_checkpoint(folder)

    # --- initial values and costs -----------------------------------------------------------

    @torch.no_grad()
    def initialise(self) -> None:
        """Keep the harness's rule for maps, kernels and tables; restore the family's for the rest.

        The maps of GPT-2 and its like are transposed: the rule took their outputs for inputs.
        """
        kinds = nn.Linear | nn.Conv1d | nn.Embedding | Conv1D
        ruled = {id(m.weight) for m in self.model.modules() if isinstance(m, kinds)}
        for name, parameter in self.model.named_parameters():
            if id(parameter) not in ruled and name in self.own:
                parameter.copy_(self.own[name])
        for module in self.model.modules():
            if isinstance(module, Conv1D):
                module.weight.mul_(math.sqrt(module.weight.shape[1] / module.weight.shape[0]))
        self.own = {}

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count maps and kernels by their weights, attention and recurrences by formula.

        The recurrences are those that `huggingface_flops` has; of others only the maps are
        counted, and `bench.check` says what is missing.
        """
        return forward_flops(self.model, length, self.shape.attention, self.causal, full_mask)
