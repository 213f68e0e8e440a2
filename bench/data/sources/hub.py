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


class HubSet:
    """A set of the hub, `name` or `name@revision`, or a local folder that `load_dataset` takes.

    `group` is the configuration group that names it, `instead` what to use without a network.
    """

    def __init__(self, repository: str, subset: str, group: str, instead: str) -> None:
        if not repository:
            raise UserError(
                f"{group}.source=hub needs {group}.repository=…: the set's name, or a folder",
                "missing-file",
            )
        self.repository, self.subset, self.group = repository, subset, group
        self.instead = instead
        folder = expand_user(repository, f"name an existing folder in {group}.repository")
        self.local = folder.is_dir()
        name, _, revision = repository.partition("@")
        self.name, self.revision = (repository, "") if self.local else (name, revision)

    def fingerprint(self) -> dict[str, Any]:
        """Return what names the set, with the files of a local one."""
        value: dict[str, Any] = {"repository": self.repository, "subset": self.subset}
        if self.local:
            paths = sorted(expand_user(self.repository, "").rglob("*"))
            files = [(path.name, path.stat()) for path in paths if path.is_file()]
            value["files"] = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]
        return value

    @contextmanager
    def open_split(
        self, expression: str, column: str = "", streamed: bool = False
    ) -> Iterator[Any]:
        """Yield the rows of one split as `datasets` gives them; of one column, if it is named.

        Raise UserError for whatever goes wrong while they are read.
        """
        online = self.local or is_reachable(self.name, self.group)
        try:
            with _offline_mode(not online):
                rows = self._load(expression, streamed)
                # the other columns need not be read
                yield rows.select_columns([column]) if column in (rows.column_names or ()) else rows
        except UserError:
            raise
        except Exception as error:  # the library raises dozens of kinds
            if not online:
                raise UserError(
                    f"the data set {self.name} needs a network, and there is none: use "
                    f"{self.instead}",
                    "no-network",
                ) from None
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"the data set {self.name} cannot be read ({type(error).__name__}: {reason})",
                "unreadable-file",
            ) from None

    def _load(self, expression: str, streamed: bool) -> Any:
        import datasets

        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        subset = "data_dir" if self.revision == PARQUET_REVISION else "name"
        return datasets.load_dataset(
            self.name,
            split=expression,
            streaming=streamed,
            revision=self.revision or None,
            **{subset: self.subset or None},
        )


class HubSource(Source, name="hub"):
    """A hub set: rows are documents, or lines with `data.joined`."""

    def __init__(self, options: DataConfig) -> None:
        instead = "a text of your own with data=text data.path=…"
        self.options = options
        self.set = HubSet(options.repository, options.subset, "data", instead)
        self.parts = options.parts or {"": "train"}
        self.given = options.split == "given"
        self.single = options.joined and not self.given

    def fingerprint(self) -> Any:
        value = {name: getattr(self.options, name) for name in ("column", "joined", "documents")}
        return value | self.set.fingerprint() | {"parts": self.parts}

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
        """Yield the text of each row of one split."""
        column, streamed = self.options.column, self.options.streamed
        with self.set.open_split(expression, column, streamed) as rows:
            for batch in rows.iter(ROWS_PER_READ):
                yield from _column_texts(self.set.name, batch, column)


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


def is_reachable(name: str, group: str) -> bool:
    """Tell whether the hub answers for a set; raise UserError where it is missing or closed."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().dataset_info(name, timeout=PROBE_SECONDS)
    except GatedRepoError:
        raise UserError(
            f"the data set {name} requires an account with access: log in, or name files of your "
            f"own in {group}.path",
            "no-network",
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"there is no public data set named {name}: check {group}.repository", "unknown-choice"
        ) from None
    except Exception:  # no route, no name, a time-out, a proxy's page: not reachable now
        return False
    return True
