"""Read public text sets by name through `datasets`, or a local folder that `load_dataset` takes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data.sources.base import Source, TextChunk, encode_utf8
from bench.data.sources.readers import check_column, no_text
from bench.system.files import expand_user

PROBE_SECONDS = 5.0
ROWS_PER_READ = 256
# The revision where the hub keeps, as .parquet, a set that was a script: a folder per subset.
PARQUET_REVISION = "refs/convert/parquet"


class HubSource(Source, name="hub"):
    """A hub set, `name` or `name@revision`: rows are documents, or lines with `data.joined`."""

    def __init__(self, options: DataConfig) -> None:
        if not options.repository:
            raise UserError("data.source=hub needs data.repository=…: the set's name, or a folder")
        self.options = options
        folder = expand_user(options.repository, "name an existing folder in data.repository")
        self.local = folder.is_dir()
        name, _, revision = options.repository.partition("@")
        self.name, self.revision = (options.repository, "") if self.local else (name, revision)
        self.parts = options.parts or {"": "train"}
        self.given = options.split == "given"
        self.single = options.joined and not self.given

    def fingerprint(self) -> Any:
        names = ("repository", "subset", "column", "joined", "documents")
        value = {name: getattr(self.options, name) for name in names} | {"parts": self.parts}
        if self.local:
            paths = sorted(expand_user(self.options.repository, "").rglob("*"))
            files = [(path.name, path.stat()) for path in paths if path.is_file()]
            value["files"] = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]
        return value

    def facts(self) -> dict[str, Any]:
        options = self.options
        return {"source": "hub", "repository": options.repository, "subset": options.subset}

    def chunks(self) -> Iterator[TextChunk]:
        joined = self.options.joined
        for name, expression in self.parts.items():
            part = name if self.given else ""
            for text in islice(self._texts(expression), self.options.documents or None):
                yield TextChunk(encode_utf8(text), last=not joined, part=part)
            if joined and self.given:
                yield TextChunk(b"", part=part)
        if joined and not self.given:  # all parts make one text
            yield TextChunk(b"")

    def _texts(self, expression: str) -> Iterator[str]:
        """Yield the text of each row of one split; raise UserError for whatever goes wrong."""
        online = self.local or is_reachable(self.name)
        try:
            with _offline_mode(not online):
                for rows in self._load(expression).iter(ROWS_PER_READ):
                    yield from _column_texts(self.name, rows, self.options.column)
        except UserError:
            raise
        except Exception as error:  # the library raises dozens of kinds
            if not online:
                raise UserError(
                    f"the data set {self.name} needs a network, and there is none: use a text of "
                    "your own with data=text data.path=…",
                    "no-network",
                ) from None
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"the data set {self.name} cannot be read ({type(error).__name__}: {reason})",
                "unreadable-file",
            ) from None

    def _load(self, expression: str) -> Any:
        """Return the rows of one split as `datasets` gives them."""
        import datasets

        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        subset = "data_dir" if self.revision == PARQUET_REVISION else "name"
        rows = datasets.load_dataset(
            self.name,
            split=expression,
            streaming=self.options.streamed,
            revision=self.revision or None,
            **{subset: self.options.subset or None},
        )
        column = self.options.column  # the others need not be read
        return rows.select_columns([column]) if column in (rows.column_names or ()) else rows


def _column_texts(name: str, rows: dict[str, list[Any]], column: str) -> Iterator[str]:
    """Yield the texts of some rows, empty for None; raise UserError where there are none."""
    check_column(f"the data set {name}", column, rows)
    for text in rows[column]:
        if not isinstance(text, str | None):
            raise no_text(name, column, type(text).__name__)
        yield text or ""


@contextmanager
def _offline_mode(active: bool) -> Iterator[None]:
    """Let the library read earlier downloads only; online it would retry for half a minute."""
    import datasets
    import huggingface_hub.constants as hub

    before = datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE
    if active:
        datasets.config.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE = before


def is_reachable(name: str) -> bool:
    """Tell whether the hub answers for a set; raise UserError where it is missing or closed."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().dataset_info(name, timeout=PROBE_SECONDS)
    except GatedRepoError:
        raise UserError(
            f"the data set {name} requires an account with access: log in, or use data=text "
            "data.path=…",
            "no-network",
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"there is no public data set named {name}: check data.repository", "unknown-choice"
        ) from None
    except Exception:  # no route, no name, a time-out, a proxy's page: not reachable now
        return False
    return True
