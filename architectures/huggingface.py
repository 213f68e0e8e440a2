"""Any family of the package transformers that takes embeddings, at the width that the harness solved, with random weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from architectures.huggingface_family import cache_keyword, empty_cache, family, run
from architectures.huggingface_flops import forward_flops
from architectures.interface import Backbone, Unsupported

TRIED = 8  # tokens on which a cache has to show that it goes on: two, one, one, and four at once
CLOSE = 0.05  # of what the tokens before a piece change in it: a cache that has forgotten them is off by 1


@dataclass
class CacheState:
    """A family's own cache, how many tokens it holds, and for how many rows and tokens it was asked."""

    cache: Any  # None before the first token where the family makes its own
    position: int
    batch: int
    room: int


class HuggingFace(Backbone):
    """Wolf et al. 2020, arXiv:1910.03771: `model_type` names a family of `transformers.AutoModel`.

    Its own configuration, of which width, layers, heads, the width of a head and the feed-forward follow the width as they
    do in the family's default; `multiples` sets further ones as multiples of the width, rounded to even numbers, `settings`
    any key as it is. Its token embedding and its final norm are taken out: the harness has both. It is causal where its
    attention is. Weights start by the harness's rule; what else it has as the family says.

    `cache`: whether its cache takes `pieces` of several tokens on top of others, single `tokens` alone (pieces are then fed one
    by one), or `none`. That is tried once for each model before it keeps a state.
    """

    def __init__(
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
    ) -> None:
        super().__init__(width, context)
        self.family = family(
            model_type=model_type, layers=layers, heads=heads, settings=dict(settings or {}), multiples=dict(multiples or {}),
            dropout=dropout,
        )  # fmt: skip
        self.model, self.shape = self.family.build(width, context), self.family.shape
        self.causal, self.cache = self.shape.causal, cache
        self.cache_name = cache_keyword(self.model)
        self.refusal: str | None = (
            None  # why it keeps no state, once that was tried; empty where it does
        )
        self.sizes: dict[tuple[int, int, torch.dtype], int] = {}
        self.own = {
            name: value.detach().clone()
            for name, value in self.model.named_parameters()
            if value.device.type != "meta"
        }

    def forward(
        self, x: Tensor, state: CacheState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, CacheState | None]:
        end = x.shape[1] + (0 if state is None else state.position)
        if self.shape.tables and end > self.context:
            name, known = self.family.model_type, self.context
            raise ValueError(
                f"{name} learned positions for its context of {known} tokens, and cannot read token {end}"
            )
        if state is None:
            shown = {}
            if lengths is not None and not self.causal:
                shown = {
                    "attention_mask": torch.arange(x.shape[1], device=x.device) < lengths[:, None]
                }  # (B, T)
            return self.model(inputs_embeds=x, **shown)[0], None
        if self.shape.attention and end > state.room:
            raise ValueError(
                f"the state has room for {state.room} tokens, and token {end} was given: ask for a longer one"
            )
        pieces = x.split(1, dim=1) if self.cache == "tokens" and state.position else (x,)
        mixed, cache = [], state.cache
        for piece in pieces:
            found = self.model(inputs_embeds=piece, use_cache=True, **{self.cache_name: cache})
            cache = found[self.cache_name]
            mixed.append(found[0])
        return torch.cat(mixed, dim=1), CacheState(cache, end, state.batch, state.room)

    # --- the state ----------------------------------------------------------------------------------------------------

    def init_state(self, batch: int, length: int, like: Tensor) -> CacheState:
        """The family's own cache, empty. Raises Unsupported where it has none, or where it does not go on from a text."""
        if self.refusal is None:
            self.refusal = self._tried(like)
        if self.refusal:
            raise Unsupported(self.refusal)
        return CacheState(empty_cache(self.model, batch, like), 0, batch, length)

    def _tried(self, like: Tensor) -> str:
        """Why it can keep no state; nothing where its cache gives what the text at once does."""
        name = self.family.model_type
        if not self.causal:
            return f"{name} reads the whole text at once: it cannot decode token by token"
        if self.cache == "none" or not self.cache_name:
            return f"the cache of {name} is not used" if self.cache_name else f"{name} has no cache"
        if like.is_meta:
            return ""  # nothing can be tried where nothing is computed: its size alone is asked for
        x = torch.randn(2, TRIED, self.width, generator=torch.Generator().manual_seed(0)).to(
            like.device, like.dtype
        )
        before, parts, alone = self.training, list[Tensor](), list[Tensor]()
        self.eval()
        try:
            with torch.no_grad(), torch.autocast(like.device.type, enabled=False):
                whole, state = self(x)[0], CacheState(empty_cache(self.model, 2, like), 0, 2, TRIED)
                for piece in x.split((2, 1, 1, 4), dim=1):
                    mixed, state = self(piece, state)
                    parts.append(mixed)
                    alone.append(self(piece)[0])  # as it would be without what stands before it
            given = (torch.cat(alone, dim=1) - whole).abs().max()
            off = ((torch.cat(parts, dim=1) - whole).abs().max() / given).item()
        except Exception as error:
            return f"the cache of {name} does not go on from a text: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        finally:
            self.train(before)
        instead = "tokens or none" if self.cache == "pieces" else "none"
        return (
            ""
            if off < CLOSE
            else f"the cache of {name} does not go on from a text (off by {off:.2g}): try arch.cache={instead}"
        )

    def state_bytes(self, state: CacheState) -> int:
        """Bytes of the cache once it is full: of the tensors that it keeps of such a text, seen without computing it."""
        dtype = next(self.model.parameters()).dtype
        key = (state.batch, state.room, dtype)
        if key not in self.sizes:
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                twin = self.family.build(self.width, self.context).to(dtype).eval()
                found = run(twin, self.width, state.batch, state.room)
            self.sizes[key] = held_bytes(found[self.cache_name])
        return self.sizes[key]

    # --- initial values and costs -------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self) -> None:
        """The harness's rule for the weights of maps, kernels and tables; all else as the family's own rule made it.

        The maps of GPT-2 and its like lie the other way round: the rule took their outputs for their inputs.
        """
        ruled = {
            id(m.weight)
            for m in self.model.modules()
            if isinstance(m, nn.Linear | nn.Conv1d | nn.Embedding | Conv1D)
        }
        for name, parameter in self.model.named_parameters():
            if id(parameter) not in ruled and name in self.own:
                parameter.copy_(self.own[name])
        for module in self.model.modules():
            if isinstance(module, Conv1D):
                module.weight.mul_(math.sqrt(module.weight.shape[1] / module.weight.shape[0]))
        self.own = {}

    def flops(self, length: int, full_mask: bool = False) -> float:
        """2 for each weight of a map or kernel; attention 4·H·K for each key that a token is compared with, a window's too;
        and the recurrences that `huggingface_flops` knows. Of others only the maps: `bench.check` says what is missing."""
        return forward_flops(self.model, length, self.shape.attention, self.causal, full_mask)


def held_bytes(cache: Any) -> int:
    """Bytes of all tensors that a cache holds, wherever it holds them."""
    seen: set[int] = set()
    ahead, total = [cache], 0
    while ahead:
        one = ahead.pop()
        if id(one) in seen or isinstance(
            one, type | str | int | float | bool | torch.dtype | torch.device | None
        ):
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            total += one.numel() * one.element_size()
        elif isinstance(one, Mapping):
            ahead += one.values()
        elif isinstance(one, list | tuple):
            ahead += one
        elif not hasattr(one, "model_type"):  # a configuration
            ahead += vars(one).values() if hasattr(one, "__dict__") else []
    return total
