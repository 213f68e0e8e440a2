"""Read a local checkpoint of transformers that was trained elsewhere, to be scored as it is."""

from pathlib import Path
from typing import Any

import torch
import transformers

from architectures.interface import PretrainedModel, Unsupported

transformers.logging.disable_progress_bar()
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def read_checkpoint(folder: Path) -> PretrainedModel:
    """Return the causal model of a folder, in float32. Raise Unsupported for what cannot be read.

    Weights are read from safetensors alone, and no code of the folder is run.
    """
    config = _read_config(folder)
    _check_files(folder)
    loader: Any = transformers.AutoModelForCausalLM
    try:
        model, report = loader.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True,
            use_safetensors=True, trust_remote_code=False, output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # of whatever kind the library raises
        reason = " ".join(str(error).split())[:200]
        raise Unsupported(f"its weights cannot be loaded: {reason}") from None
    if missing := sorted(report["missing_keys"]):
        raise Unsupported(f"its weights lack {missing[0]}, which would be random")
    start = _first(config.bos_token_id, config.eos_token_id)
    if start is None:
        raise Unsupported("config.json names no bos_token_id or eos_token_id to begin a text with")
    longest = getattr(config, "max_position_embeddings", None)
    model = model.eval().requires_grad_(False)
    return PretrainedModel(_Logits(model), int(config.vocab_size), start, int(longest or 0))


def _read_config(folder: Path) -> Any:
    """Return the configuration of a decoder. Raise Unsupported for any other model."""
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise Unsupported(f"its config.json cannot be read: {reason}") from None
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
        raise Unsupported(
            f"a {config.model_type} does not predict each token from those before it: "
            "name a checkpoint of a causal language model"
        )
    return config


def _check_files(folder: Path) -> None:
    """Raise Unsupported without weights as safetensors, or without a tokenizer.json."""
    if not any(folder.glob("*.safetensors")):
        pickled = next((path.name for kind in PICKLED for path in folder.glob(kind)), "")
        reason = f"its weights are pickled ({pickled}), and loading them could run code"
        raise Unsupported(
            f"{reason if pickled else 'it has no weights'}: save the model as safetensors, "
            "by model.save_pretrained(folder)"
        )
    if not (folder / "tokenizer.json").is_file():
        raise Unsupported(
            "it has no tokenizer.json: save its tokenizer there, by "
            "tokenizer.save_pretrained(folder) of a fast tokenizer"
        )


def _first(*ids: Any) -> int | None:
    """Return the first token id of several, each of which may be None or a list."""
    flat = (one for given in ids for one in (given if isinstance(given, list) else [given]))
    return next((int(one) for one in flat if one is not None), None)


class _Logits(torch.nn.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return logits
