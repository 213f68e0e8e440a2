"""Read the texts of a task's examples, without labels or answers, in the task's parts."""

import json
from collections.abc import Iterator
from typing import Any

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.sources.base import Source, TextChunk, encode_utf8


class ExampleTexts(Source, name="examples"):
    """A document per example: `data.path` names the folder in the cache that holds them."""

    def __init__(self, options: DataConfig) -> None:
        self.path = options.path
        self.file = cache.cache_root(options.cache) / options.path / "examples.jsonl"
        if not self.file.is_file():
            raise UserError(
                f"the cache has no examples in {self.file.parent}: give the command of the task "
                "again, with task.start=self",
                "missing-file",
            )

    def fingerprint(self) -> Any:
        return cache.hash_file(self.file)

    def facts(self) -> dict[str, Any]:
        return {"source": "examples", "path": self.path}

    def chunks(self) -> Iterator[TextChunk]:
        for line in self.file.read_text(encoding="utf-8").split("\n"):
            part, text, *_ = json.loads(line)
            yield TextChunk(encode_utf8(text), part=part)
