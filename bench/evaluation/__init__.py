"""Score held-out text: the headline protocol, further ones, encoders, infilling."""

from bench.evaluation.context_sweep import context_sweep
from bench.evaluation.infilling import infill
from bench.evaluation.likelihood import (
    Score,
    causal_likelihood,
    first_non_finite,
    metric_value,
    spread_blocks,
    validation_bytes,
    validation_nats,
)
from bench.evaluation.masked_likelihood import sampled_window_likelihood
from bench.evaluation.protocols import check_supported, score_by_protocol
from bench.evaluation.pseudo_likelihood import pseudo_likelihood
from bench.evaluation.saliency import measure_saliency
from bench.evaluation.sampling import token_windows
from bench.evaluation.scorer import Scorer

__all__ = [
    "Score",
    "Scorer",
    "causal_likelihood",
    "check_supported",
    "context_sweep",
    "first_non_finite",
    "infill",
    "measure_saliency",
    "metric_value",
    "pseudo_likelihood",
    "sampled_window_likelihood",
    "score_by_protocol",
    "spread_blocks",
    "token_windows",
    "validation_bytes",
    "validation_nats",
]
