"""Write trained runs in the formats of other tools."""

from bench.publishing.model_card import model_card
from bench.publishing.tokenizer_file import SEPARATOR, write_tokenizer

__all__ = ["SEPARATOR", "model_card", "write_tokenizer"]
