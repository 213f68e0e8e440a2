"""Quality on held-out text: the headline's protocol, further ones, and what may be said of encoders."""

from bench.evaluate.filling import fill_in
from bench.evaluate.protocols import beside, by_protocol, check
from bench.evaluate.sample import cut
from bench.evaluate.score import Score, likelihood, look_bytes, lost, pseudo_likelihood, spread_blocks, validation_nats, value
from bench.evaluate.unmasking import same_windows

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
