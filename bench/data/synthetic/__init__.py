"""Sources whose best possible loss is known: drawn from a seed by a law that also says what each next symbol is worth."""

from bench.data.synthetic.base import SyntheticSource, open_synthetic

__all__ = ["SyntheticSource", "open_synthetic"]
