"""Define the configuration of what follows training: evaluation and measurement."""

from dataclasses import dataclass

from bench.config.fields import choice, option


@dataclass
class EvaluateConfig:
    """Configure how the trained model is scored. Outside identity."""

    protocol: str = choice(
        "chunk stride stateful",
        "chunk: adjacent windows; stride: overlapping ones; stateful: carry the state",
    )
    stride: int = option(0, "stride: tokens between windows; 0: context / 4", (0, 1_000_000))
    stretches: int = option(
        8, "excerpts of 8 contexts for further protocols and contexts; 0: none", (0, 10**6)
    )
    windows: int = option(32, "windows that encoders unmask left to right; 0: none", (0, 10**6))
    fillings: int = option(32, "single hidden tokens to infill; 0: none", (0, 10**6))
    saliency: int = option(
        64, "held-out predictions whose saliency is recorded; 0: none", (0, 10**5)
    )
    pseudo_positions: int = option(2000, "positions for the pseudo-perplexity", (2, 10**7))
    prompt: str = option("The function returns", "start of the sample")
    sample_tokens: int = option(200, "tokens to sample", (0, 10**6))
    temperature: float = option(0.8, "of the sample; 0: greedy", (0.0, 100.0))


@dataclass
class MeasureConfig:
    """Configure the measurement of speed and memory. Outside identity."""

    depth: str = choice("quick off full", "how much is measured")
    narrow: float = option(0.015, "target half-width of each ratio's 95 % interval", (1e-4, 1.0))
    processes: int = option(6, "consecutive worker processes per architecture", (1, 100))
    rounds: int = option(60, "maximum number of rounds over all processes", (2, 10_000))
    window_seconds: float = option(
        0.1, "one training sample; prefill and decoding take a third", (0.001, 60.0)
    )
    side_rounds: int = option(
        4, "rounds for phases of a step, larger batches and the hardware peak", (0, 10_000)
    )
    batches: list[int] = option([8, 32], "batch sizes of prefill and decode besides 1", (1, 10**9))
    lengths: list[int] = option([64, 128, 256, 512], "lengths of the length sweep", (2, 10**9))
    curve_rounds: int = option(3, "rounds per length", (1, 10_000))
    point_seconds: float = option(2.0, "omit lengths whose pass takes longer", (0.001, 10**6))
    energy_seconds: float = option(
        3.0, "training time for the energy counter; 0: do not measure energy", (0.0, 10**4)
    )
    memory_limit: int = option(
        0, "bytes within which to search the largest batch; 0: do not search", (0, 10**15)
    )
    limit_seconds: float = option(120.0, "end a worker that takes longer", (1.0, 10**6))
    cap_seconds: float = option(100.0, "begin no round or length after this time", (1.0, 10**6))
