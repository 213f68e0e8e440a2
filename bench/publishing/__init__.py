"""Write trained runs in the formats of other tools."""

from bench.publishing.huggingface import Exported, export_huggingface

__all__ = ["Exported", "export_huggingface"]
