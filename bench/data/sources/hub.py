"""Public text sets by name, through `datasets`: whole or streamed. Also a local folder in any form that `load_dataset` takes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data.sources.base import TextChunk, encode_utf8

PROBE_SECONDS = 5.0
ROWS_PER_READ = 256  # read at once
PARQUET_REVISION = "refs/convert/parquet"  # a set that used to be a script lies there as .parquet, a folder for each configuration


class HubSource:
    """A set of the hub, `name` or `name@revision`. Its rows are documents, or lines of one text where `data.joined`."""

    def __init__(self, options: DataConfig):
        if not options.repository:
            raise UserError("data.source=hub needs data.repository=…: the set's name, or a folder")
        self.options = options
        self.local = Path(options.repository).expanduser().is_dir()
        name, _, revision = options.repository.partition("@")
        self.name, self.revision = (options.repository, "") if self.local else (name, revision)
        self.parts = options.parts or {"": "train"}
        self.single = options.joined and options.split != "given"

    def fingerprint(self) -> Any:
        o = self.options
        value: dict[str, Any] = {
            "repository": o.repository,
            "subset": o.subset,
            "parts": self.parts,
            "column": o.column,
        }
        value |= {"joined": o.joined, "documents": o.documents}
        if self.local:
            files = sorted(
                file for file in Path(o.repository).expanduser().rglob("*") if file.is_file()
            )
            value["files"] = [
                [file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files
            ]
        return value

    def facts(self) -> dict[str, Any]:
        return {
            "source": "hub",
            "repository": self.options.repository,
            "subset": self.options.subset,
        }

    def pieces(self) -> Iterator[TextChunk]:
        given, joined = self.options.split == "given", self.options.joined
        for name, expression in self.parts.items():
            for text in islice(self.texts(expression), self.options.documents or None):
                yield TextChunk(encode_utf8(text), last=not joined, part=name if given else "")
            if joined and given:
                yield TextChunk(b"", last=True, part=name)
        if joined and not given:  # all parts make one text
            yield TextChunk(b"", last=True)

    def texts(self, expression: str) -> Iterator[str]:
        """The text of each row of one split. Raises UserError in one line for whatever the library or the network does."""
        online = self.local or is_reachable(self.name)
        try:
            with offline_mode(not online):
                for rows in self.load(expression).iter(ROWS_PER_READ):
                    yield from column_texts(self.name, rows, self.options.column)
        except UserError:
            raise
        except Exception as error:  # the library raises dozens of kinds; each ends here in one line
            if not online:
                raise UserError(no_network_message(self.name)) from None
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"data set {self.name} can not be read ({type(error).__name__}: {reason})"
            ) from None

    def load(self, expression: str) -> Any:
        """The rows of one split, as `datasets` gives them."""
        import datasets

        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        arguments: dict[str, Any] = {"revision": self.revision or None}
        arguments["data_dir" if self.revision == PARQUET_REVISION else "name"] = (
            self.options.subset or None
        )
        rows = datasets.load_dataset(
            self.name, split=expression, streaming=self.options.streamed, **arguments
        )
        column = (
            self.options.column
        )  # the others need not be read; a set that does not name its columns is read whole
        return rows.select_columns([column]) if column in (rows.column_names or ()) else rows


def column_texts(name: str, rows: dict[str, list[Any]], column: str) -> Iterator[str]:
    """The texts of some rows; empty where one has none. Raises UserError where there is no such column, or no text in it."""
    if column not in rows:
        raise UserError(
            f"the data set {name} has no column {column!r}; it has {', '.join(rows)}: set data.column=…"
        )
    for text in rows[column]:
        if text is not None and not isinstance(text, str):
            raise UserError(
                f"{name}: the column {column!r} is no text ({type(text).__name__}): set data.column=…"
            )
        yield text or ""


@contextmanager
def offline_mode(really: bool) -> Iterator[None]:
    """Let the library read earlier downloads only: without a network it would try again for half a minute."""
    import datasets
    import huggingface_hub.constants as hub

    kept = datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE
    if really:
        datasets.config.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE = kept


def no_network_message(name: str) -> str:
    """The line about a set that can not be fetched now."""
    return f"the data set {name} needs a network, and there is none: use a text of your own with data=text data.path=…"


def is_reachable(name: str) -> bool:
    """Whether the hub answers for this set. Raises UserError where it answers that there is none, or that it is closed."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().dataset_info(name, timeout=PROBE_SECONDS)
    except GatedRepoError:
        raise UserError(
            f"the data set {name} asks for an account with access: log in, or use data=text data.path=…"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"there is no public data set named {name}: check data.repository"
        ) from None
    except (
        Exception
    ):  # no route, no name, a time-out, a proxy's page: all mean that it can not be reached now
        return False
    return True
