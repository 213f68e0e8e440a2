"""Quality on held-out text: the headline's protocol, further ones, and what may be said of encoders."""

from bench.evaluation.infilling import fill_in
from bench.evaluation.likelihood import (
    Score,
    likelihood,
    look_bytes,
    lost,
    pseudo_likelihood,
    spread_blocks,
    validation_nats,
    value,
)
from bench.evaluation.masked_likelihood import same_windows
from bench.evaluation.protocols import beside, by_protocol, check
from bench.evaluation.sampling import cut

__all__ = [
    "Score",
    "beside",
    "by_protocol",
    "check",
    "cut",
    "fill_in",
    "likelihood",
    "look_bytes",
    "lost",
    "pseudo_likelihood",
    "same_windows",
    "spread_blocks",
    "validation_nats",
    "value",
]
