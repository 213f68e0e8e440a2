"""A family of transformers at any width: its configuration, and what its models show."""

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

from architectures.attention import head_width
from architectures.huggingface_cache import run_on_meta
from architectures.layers import require_positive

transformers.logging.set_verbosity_error()  # each process would list missing compiled kernels
HEADS = ("num_attention_heads", "num_key_value_heads", "num_heads")
TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")
MIN_GROWTH = 3.0  # at twice the width maps have 4 times the parameters, less what is constant
CONTEXT = 16  # of the models that are inspected


class FamilyShape(NamedTuple):
    """What a family's models show."""

    final_norm: str  # its name; empty where there is none
    causal: bool
    attention: int  # layers of attention
    tables: bool  # whether positions are learned


@dataclass(frozen=True)
class Family:
    """`transformers.AutoModel` for a `model_type`. Raise TypeError for what fits no width."""

    model_type: str
    layers: int
    heads: int
    settings: Mapping[str, Any]
    multiples: Mapping[str, float]
    dropout: float

    @cached_property
    def default(self) -> Any:
        """Return the family's default configuration. Raise TypeError unless it is one stack."""
        families, name = transformers.CONFIG_MAPPING, f"model_type={self.model_type}"
        if self.model_type not in families:
            close = near(self.model_type, families)
            raise TypeError(f"{name} is not in transformers {transformers.__version__}; {close}")
        config = transformers.AutoConfig.for_model(self.model_type)
        stack = type(config) in transformers.MODEL_MAPPING and hasattr(config, "hidden_size")
        if not stack or config.is_encoder_decoder:
            raise TypeError(
                f"{name} is not a single stack of layers, and cannot be between an embedding "
                "and a head"
            )
        model: Any = transformers.MODEL_MAPPING[type(config)]
        if "inputs_embeds" not in inspect.signature(model.forward).parameters:
            raise TypeError(
                f"{name} cannot take embeddings (inputs_embeds), and the harness owns the embedding"
            )
        return config

    def configuration(self, width: int, context: int) -> Any:
        """Return the family's configuration at a width.

        Raise TypeError for a key that it does not have, ValueError for the width.
        """
        default = self.default
        self._check_keys()
        own_heads = hasattr(default, "num_attention_heads") and not hasattr(default, "head_dim")
        if width < 4 * self.heads or (own_heads and width % self.heads):
            raise ValueError(
                f"heads={self.heads} of a {self.model_type} do not divide a width of {width}"
            )
        values = self._sizes(width, context)
        values |= {name: even(width * multiple) for name, multiple in self.multiples.items()}
        values |= self.settings
        tokens = (name for name in TOKENS if getattr(default, name, None) is not None)
        values = dict.fromkeys(tokens, 0) | values
        try:
            return type(default)(**({"hidden_size": width, "vocab_size": 2} | values))
        except Exception as error:  # of whatever kind its checks raise
            raise ValueError(" ".join(str(error).split())) from None

    def _check_keys(self) -> None:
        """Raise TypeError for a key that the family's configuration does not have."""
        for name in (*self.settings, *self.multiples):
            if not hasattr(self.default, name):
                close = near(name, self.default.to_dict())
                raise TypeError(f"{name} is not a key of a {self.model_type}; {close}")

    def _sizes(self, width: int, context: int) -> dict[str, Any]:
        """Return the keys of the default that follow width, context, layers, heads and dropout."""
        default = self.default
        sizes: dict[str, Any] = dict.fromkeys(HEADS, require_positive("heads", self.heads))
        sizes |= {"num_hidden_layers": require_positive("layers", self.layers)}
        sizes |= {"head_dim": head_width(width, self.heads)}
        sizes |= {"max_position_embeddings": context, "type_vocab_size": 1, "use_cache": False}
        if isinstance(getattr(default, "intermediate_size", None), int):
            hidden = width * default.intermediate_size / default.hidden_size
            sizes["intermediate_size"] = even(hidden)
        sizes = {name: value for name, value in sizes.items() if hasattr(default, name)}
        numbers = ((k, v) for k, v in default.to_dict().items() if isinstance(v, float))
        return sizes | {name: self.dropout for name, _ in numbers if "drop" in name}

    def build(self, width: int, context: int) -> Any:
        """Return the model without token embedding and final norm, or raise ValueError."""
        shape, model = self.shape, self.build_full(width, context)
        if next(model.parameters()).device.type == "meta":  # where a width is tried first
            try:
                run_on_meta(model, width)
            except (RuntimeError, ValueError) as error:
                reason = f"a {self.model_type} of width {width} does not run: {error}"
                raise ValueError(reason) from None
        embedding = module_name(model, model.get_input_embeddings())
        for name in filter(None, (embedding, shape.final_norm)):
            model.set_submodule(name, nn.Identity())
        return model

    def build_full(self, width: int, context: int) -> Any:
        """Return the model as the family makes it, without a pooling layer."""
        model = transformers.AutoModel.from_config(self.configuration(width, context))
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        return model

    @cached_property
    def shape(self) -> FamilyShape:
        """Inspect models without memory, at a width that suits any heads.

        Raise TypeError where the sizes do not follow the width.
        """
        width = 128 * require_positive("heads", self.heads)
        try:
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                small, large = (self.build_full(w, CONTEXT) for w in (width, 2 * width))
                norm = final_norm(large, 2 * width)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise TypeError(f"a {self.model_type} cannot be built: {reason}") from None
        growth = map_parameters(large) / map_parameters(small)
        if growth < MIN_GROWTH:
            constant = ", ".join(constant_sizes(small.config, large.config)) or "its configuration"
            raise TypeError(
                f"a {self.model_type} of twice the width has {growth:.1f} times the parameters, "
                "and not 4: sizes do not follow the width; give arch.multiples (of the width) or "
                f"arch.settings for {constant}"
            )
        flags = [getattr(module, "is_causal", None) for module in large.modules()]
        causal = [flag for flag in flags if isinstance(flag, bool)]
        return FamilyShape(norm, all(causal), len(causal), learns_positions(large))


@cache
def _family(key: str) -> Family:
    return Family(**json.loads(key))


def family(**options: Any) -> Family:
    """Return the one family of these options: it is inspected once per process."""
    return _family(json.dumps(options, sort_keys=True))


# --- what a model shows -----------------------------------------------------------------------


def learns_positions(model: Any) -> bool:
    """Tell whether a model has a table for the positions of its context."""
    embedding = module_name(model, model.get_input_embeddings())
    return any(
        isinstance(module, nn.Embedding) and module.num_embeddings >= CONTEXT
        for name, module in model.named_modules()
        if name != embedding
    )


def final_norm(model: Any, width: int) -> str:
    """Return the name of the norm whose output is the model's; empty where a layer ends in it."""
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda module, given, output: outputs.__setitem__(name, output)

    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in model.named_modules()
        if "Norm" in type(module).__name__
    ]
    last = run_on_meta(model, width)[0]
    for hook in hooks:
        hook.remove()
    # the same tensor, or a view of it
    same = [name for name, output in outputs.items() if storage_id(output) == storage_id(last)]
    return next((name for name in same if not any(part.isdigit() for part in name.split("."))), "")


def storage_id(x: Tensor) -> int:
    """Return what identifies the memory of a tensor, on the meta device too."""
    return int(x.untyped_storage()._cdata)


def map_parameters(model: Any) -> int:
    """Count the parameters in matrices and kernels, without embeddings."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if p.dim() >= 2 and id(p) not in tables)


def constant_sizes(small: Any, large: Any) -> list[str]:
    """Return the keys that look like sizes and are the same at both widths."""
    other, endings = large.to_dict(), ("_size", "_dim", "_width", "_rank")
    return [
        name
        for name, value in small.to_dict().items()
        if type(value) is int
        and value >= CONTEXT
        and value == other[name]
        and name.endswith(endings)
        and not name.startswith(("vocab", "chunk"))
    ]


def module_name(model: Any, wanted: Any) -> str:
    """Return the name of a module inside a model."""
    return next((name for name, module in model.named_modules() if module is wanted), "")


def even(size: float) -> int:
    """Return the nearest even number, at least 2."""
    return max(2, 2 * round(size / 2))


def near(word: str, names: Iterable[str]) -> str:
    """Return the end of a message about an unknown word."""
    close = difflib.get_close_matches(word, list(names), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else "see the package's documentation"
