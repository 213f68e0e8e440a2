"""A family of transformers at a width: its configuration, what is taken out of it, and whether its sizes follow the width."""

import difflib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn

from architectures.layers import head_width, require_positive

transformers.logging.set_verbosity_error()  # each process would tell which compiled kernels it does not find
HEADS = ("num_attention_heads", "num_key_value_heads", "num_heads")
TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")
FOLLOWING = 3.0  # at twice the width D × D maps have 4 times the parameters, less what is constant by intention
CONTEXT = 16  # of the models that a family is looked at with


class Shape(NamedTuple):
    """What a family's models show."""

    final_norm: str  # its name; nothing where there is none
    causal: bool
    attention: int  # layers of attention
    tables: bool  # whether positions are learned


@dataclass(frozen=True)
class Family:
    """`transformers.AutoModel` for a `model_type`, at any width. Raises TypeError for what can stand at no width."""

    model_type: str
    layers: int
    heads: int
    settings: Mapping[str, Any]
    multiples: Mapping[str, float]
    dropout: float

    @cached_property
    def default(self) -> Any:
        """The family's own configuration. Raises TypeError for what is no stack of layers over embeddings."""
        known, name = transformers.CONFIG_MAPPING, f"model_type={self.model_type}"
        if self.model_type not in known:
            raise TypeError(
                f"{name} is no family of transformers {transformers.__version__}; {near(self.model_type, known)}"
            )
        found = transformers.AutoConfig.for_model(self.model_type)
        if (
            type(found) not in transformers.MODEL_MAPPING
            or found.is_encoder_decoder
            or not hasattr(found, "hidden_size")
        ):
            raise TypeError(
                f"{name} is no single stack of layers, and can not stand between an embedding and a head"
            )
        made: Any = transformers.MODEL_MAPPING[type(found)]
        if "inputs_embeds" not in inspect.signature(made.forward).parameters:
            raise TypeError(
                f"{name} can not take embeddings (inputs_embeds), and the harness owns the embedding"
            )
        return found

    def configuration(self, width: int, context: int) -> Any:
        """The family's configuration at a width. Raises TypeError for a key that it does not have, ValueError for the width."""
        known = self.default
        for name in (*self.settings, *self.multiples):
            if not hasattr(known, name):
                raise TypeError(
                    f"{name} is no key of a {self.model_type}; {near(name, known.to_dict())}"
                )
        sizes: dict[str, Any] = dict.fromkeys(HEADS, require_positive("heads", self.heads))
        sizes |= {
            "num_hidden_layers": require_positive("layers", self.layers),
            "head_dim": head_width(width, self.heads),
        }
        sizes |= {"max_position_embeddings": context, "type_vocab_size": 1, "use_cache": False}
        if width < 4 * self.heads or (
            hasattr(known, "num_attention_heads")
            and not hasattr(known, "head_dim")
            and width % self.heads
        ):
            raise ValueError(
                f"heads={self.heads} of a {self.model_type} do not share a width of {width}"
            )
        if isinstance(getattr(known, "intermediate_size", None), int):
            sizes["intermediate_size"] = even(width * known.intermediate_size / known.hidden_size)
        values = {name: value for name, value in sizes.items() if hasattr(known, name)}
        values |= {
            name: self.dropout
            for name, value in known.to_dict().items()
            if "drop" in name and isinstance(value, float)
        }
        values |= {
            name: even(width * multiple) for name, multiple in self.multiples.items()
        } | dict(self.settings)
        values |= {
            name: 0
            for name in TOKENS
            if getattr(known, name, None) is not None and name not in values
        }
        try:
            return type(known)(**({"hidden_size": width, "vocab_size": 2} | values))
        except Exception as error:  # of whatever kind its checks raise
            raise ValueError(" ".join(str(error).split())) from None

    def build(self, width: int, context: int) -> Any:
        """The model without its token embedding and final norm. Raises ValueError for a width that does not suit."""
        shape, model = self.shape, self.whole(width, context)
        if (
            next(model.parameters()).device.type == "meta"
        ):  # a width is tried there before a model of it is made
            try:
                run(model, width)
            except (RuntimeError, ValueError) as error:
                raise ValueError(
                    f"a {self.model_type} of width {width} does not run: {error}"
                ) from None
        for name in filter(None, (path(model, model.get_input_embeddings()), shape.final_norm)):
            model.set_submodule(name, nn.Identity())
        return model

    def whole(self, width: int, context: int) -> Any:
        """The model as the family makes it, without a pooling layer beside its last one."""
        model = transformers.AutoModel.from_config(self.configuration(width, context))
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        return model

    @cached_property
    def shape(self) -> Shape:
        """Seen on no device, at a width that suits any heads. Raises TypeError where the sizes do not follow the width."""
        width = 128 * require_positive("heads", self.heads)
        try:
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                small, large = self.whole(width, CONTEXT), self.whole(2 * width, CONTEXT)
                norm = final_norm(large, 2 * width)
        except (RuntimeError, ValueError) as error:
            raise TypeError(
                f"a {self.model_type} was not made: {' '.join(str(error).split())}"
            ) from None
        growth = in_maps(large) / in_maps(small)
        if growth < FOLLOWING:
            fixed = ", ".join(constant(small.config, large.config)) or "its configuration"
            raise TypeError(
                f"a {self.model_type} of twice the width has {growth:.1f} times the parameters, and not 4: sizes do not follow "
                f"the width; give arch.multiples (of the width) or arch.settings for {fixed}"
            )
        attention = [
            module.is_causal
            for module in large.modules()
            if isinstance(getattr(module, "is_causal", None), bool)
        ]
        kept = path(large, large.get_input_embeddings())
        tables = [
            m for name, m in large.named_modules() if isinstance(m, nn.Embedding) and name != kept
        ]
        return Shape(
            norm,
            all(attention),
            len(attention),
            any(table.num_embeddings >= CONTEXT for table in tables),
        )


@cache
def _family(key: str) -> Family:
    return Family(**json.loads(key))


def family(**options: Any) -> Family:
    """The one family of these options: what was found out about it is found out once a process."""
    return _family(json.dumps(options, sort_keys=True))


# --- what a model shows -----------------------------------------------------------------------------------------------


def cache_keyword(model: Any) -> str:
    """What a family calls its cache; nothing where it has none."""
    keywords = inspect.signature(type(model).forward).parameters
    return next((name for name in ("past_key_values", "cache_params") if name in keywords), "")


def run(model: Any, width: int, batch: int = 1, length: int = 2) -> Any:
    """What a model returns on no device; with a cache, else some look into their positions and there are none."""
    x, name = (
        torch.empty(batch, length, width, dtype=next(model.parameters()).dtype, device="meta"),
        cache_keyword(model),
    )
    with torch.no_grad():
        return model(
            inputs_embeds=x,
            **({name: empty_cache(model, batch, x), "use_cache": True} if name else {}),
        )


def final_norm(model: Any, width: int) -> str:
    """The name of the norm whose output is the model's; nothing where its last layer ends in one of its own."""
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda module, given, output: outputs.__setitem__(name, output)

    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in model.named_modules()
        if "Norm" in type(module).__name__
    ]
    last = run(model, width)[0]
    for hook in hooks:
        hook.remove()
    found = [
        name for name, output in outputs.items() if storage(output) == storage(last)
    ]  # the same, or a view of it
    return next((name for name in found if not any(part.isdigit() for part in name.split("."))), "")


def storage(x: Tensor) -> int:
    """What tells the memory of one tensor from that of others, on no device too."""
    return int(x.untyped_storage()._cdata)


def in_maps(model: Any) -> int:
    """Parameters in matrices and kernels, without tables."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if p.dim() >= 2 and id(p) not in tables)


def constant(small: Any, large: Any) -> list[str]:
    """The keys of two configurations that look like sizes and are the same at both widths."""
    other = large.to_dict()
    same = [
        name
        for name, value in small.to_dict().items()
        if type(value) is int and value >= CONTEXT and value == other[name]
    ]
    return [
        name
        for name in same
        if name.endswith(("_size", "_dim", "_width", "_rank"))
        and not name.startswith(("vocab", "chunk"))
    ]


def path(model: Any, wanted: Any) -> str:
    """The name of a module inside a model."""
    return next((name for name, module in model.named_modules() if module is wanted), "")


def empty_cache(model: Any, batch: int, like: Tensor) -> Any:
    """An empty cache of the family's; None where the model makes a right one by itself at the first token.

    That of xLSTM rounds the widths of heads up to multiples of 64, which its layers do not.
    """
    if model.config.model_type != "xlstm":
        return None
    from transformers.models.xlstm.modeling_xlstm import xLSTMCache

    kept, heads = (
        xLSTMCache(model.config, batch, dtype=like.dtype, device=str(like.device)),
        model.config.num_heads,
    )
    for layer, block in enumerate(model.blocks):
        keys, values = block.mlstm_layer.qk_dim // heads, block.mlstm_layer.v_dim // heads
        matrices, sums = (
            like.new_zeros(batch, heads, keys, values),
            like.new_zeros(batch, heads, keys),
        )
        kept.rnn_state[layer] = (matrices, sums, like.new_zeros(batch, heads, 1))
    return kept


def even(size: float) -> int:
    """The nearest even number, at least 2."""
    return max(2, 2 * round(size / 2))


def near(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else "see the package's documentation"
