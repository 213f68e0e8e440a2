"""Pair the runs of two results folders by variant, seed and document."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.aggregate import aggregate_variants
from bench.analysis.formatting import join_words, plural
from bench.analysis.version_changes import (
    FAILED,
    IDENTICAL,
    QUALITY,
    Change,
    KindChanges,
    TestedRows,
    Uncompared,
    with_intervals,
)
from bench.records.labels import differing_settings, variant_labels
from bench.records.tables import Records
from bench.stats import Numbers, document_variances, effective_n, paired_changes, unpaired_changes

SCORES = ("bits_per_byte", "regret", "pseudo_nats_per_token")  # a run has one; lower is better
EQUAL_COLUMNS = {  # what has to be equal in both folders
    "data_digest": "data",
    "objective": "objective",
    "protocol": "protocol",
    "part": "scored part",
    "precision": "precision",
}


class Pair(NamedTuple):
    """The finished runs of one variant in both folders, and the score that both have."""

    label: str
    score: str
    old: pd.DataFrame  # indexed by seed: run, and a column per metric
    new: pd.DataFrame

    @property
    def shared(self) -> list[Any]:
        """Return the seeds of both, where they are enough to be paired."""
        seeds = sorted(self.old.index.intersection(self.new.index))
        return seeds if len(seeds) > 1 or min(len(self.old), len(self.new)) < 2 else []


def quality_changes(old: Records, new: Records, threshold: float) -> KindChanges:
    """Return the change of the headline score of each variant that both folders hold.

    `threshold`: by how much a score may get worse.
    """
    runs = [aggregate_variants(records, []).runs for records in (old, new)]
    labels = _labels(runs)
    results, settled = list[Pair | Uncompared](), list[Change]()
    for variant in sorted(set.intersection(*(set(table["variant"]) for table in runs))):
        own = [table[table["variant"] == variant] for table in runs]
        settled += _newly_failed(labels[variant], *own)
        results.append(_pair(labels[variant], *own))
    pairs = [one for one in results if isinstance(one, Pair)]
    uncompared = [one for one in results if isinstance(one, Uncompared)]
    uncompared += _lonely_variants(runs, labels)
    tested = _test_all(pairs, [old.documents, new.documents], threshold)
    return KindChanges(tested, settled, uncompared, list(_order_notes(pairs)))


def _labels(runs: Sequence[pd.DataFrame]) -> dict[str, str]:
    table = pd.concat(runs, ignore_index=True)[["arch", "variant", "config"]]
    return dict(zip(table["variant"], variant_labels(table), strict=True))


def _newly_failed(label: str, old: pd.DataFrame, new: pd.DataFrame) -> Iterator[Change]:
    done = set(old.loc[old["status"] == "done", "seed"])
    failed = new[(new["status"] == "failed") & new["seed"].isin(done)]
    if len(failed):
        seeds = ", ".join(map(str, sorted(failed["seed"])))
        reason = f"seed {seeds} failed: {join_words(sorted(set(failed['reason'].map(str))))}"
        nan = float("nan")
        yield Change(QUALITY, label, "status", nan, nan, nan, verdict=FAILED, reason=reason)


def _lonely_variants(runs: Sequence[pd.DataFrame], labels: dict[str, str]) -> Iterator[Uncompared]:
    """Yield the variants of one folder alone, with the settings that the other's differ in."""
    for own, other, name in ((runs[0], runs[1], "OLD"), (runs[1], runs[0], "NEW")):
        lonely = own[~own["variant"].isin(other["variant"])].drop_duplicates("variant")
        for row in lonely.to_dict("records"):
            same = other.loc[other["arch"] == row["arch"], "config"].head(1)
            settings = [key for one in same for key in differing_settings(row["config"], one)]
            more = f"; the other folder differs in {', '.join(settings[:4])}" if settings else ""
            yield Uncompared(QUALITY, labels[row["variant"]], f"only in {name}{more}")


def _pair(label: str, old: pd.DataFrame, new: pd.DataFrame) -> Pair | Uncompared:
    """Return the finished runs among those of a variant, or why they cannot be compared."""
    old, new = old[old["status"] == "done"], new[new["status"] == "done"]
    if old.empty or new.empty:
        return Uncompared(QUALITY, label, f"no finished run in {'OLD' if old.empty else 'NEW'}")
    for column, name in EQUAL_COLUMNS.items():
        values = [sorted(set(table[column].map(str))) for table in (old, new)]
        if values[0] != values[1] or len(values[0]) > 1:
            came = " and ".join(map(", ".join, values))
            return Uncompared(QUALITY, label, f"the {name} differs: {came}")
    for score in SCORES:
        tables = [_by_seed(table, score) for table in (old, new)]
        if all(map(len, tables)):
            return Pair(label, score, *tables)
    return Uncompared(QUALITY, label, "the two have no score in common")


def _by_seed(runs: pd.DataFrame, score: str) -> pd.DataFrame:
    scored = runs.reindex(columns=[*dict.fromkeys([*runs, score])]).dropna(subset=score)
    return scored.drop_duplicates("seed", keep="last").set_index("seed").sort_index()


def _order_notes(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield a note where runs of one seed were trained on the blocks in another order."""
    orders = [[table["order_digest"].reindex(p.shared) for table in (p.old, p.new)] for p in pairs]
    differ = [bool((old != new).any()) for old, new in orders]
    if labels := [pair.label for pair, is_other in zip(pairs, differ, strict=True) if is_other]:
        yield f"The order of training blocks differs between the folders: {join_words(labels)}."


# --- tests ---------------------------------------------------------------------------------------


def _test_all(
    pairs: Sequence[Pair], documents: Sequence[pd.DataFrame], threshold: float
) -> list[TestedRows]:
    groups = ([one for one in pairs if one.shared], [one for one in pairs if not one.shared])
    return [_test_pairs(group, documents, threshold) for group in groups if group]


def _test_pairs(
    pairs: Sequence[Pair], documents: Sequence[pd.DataFrame], threshold: float
) -> TestedRows:
    """Test the change of each pair: all of them share seeds, or none does."""
    old, new = ([_scores(table, pair) for pair in pairs] for table in ("old", "new"))
    variances, counts = np.array([_document_variance(pair, documents) for pair in pairs]).T
    if pairs[0].shared:
        differences = [after - before for before, after in zip(old, new, strict=True)]
        tests = paired_changes(differences, variances, counts)
    else:
        tests = unpaired_changes(old, new, variances, counts)
    rows = [
        _row(pair, before, after, bool(np.isfinite(variance)))
        for pair, before, after, variance in zip(pairs, old, new, variances, strict=True)
    ]
    return with_intervals(rows, tests, np.full(len(rows), threshold))


def _scores(name: str, pair: Pair) -> Numbers:
    table: pd.DataFrame = getattr(pair, name)
    return table.loc[pair.shared or table.index, pair.score].to_numpy(dtype=float)


def _row(pair: Pair, old: Numbers, new: Numbers, has_documents: bool) -> Change:
    before, after = float(old.mean()), float(new.mean())
    counts = "" if pair.shared else f"{len(old)} and "
    basis = f"{counts}{plural(len(new), 'seed')}" + (", paired" if pair.shared else "")
    return Change(
        QUALITY, pair.label, pair.score, before, after, after - before,
        verdict=IDENTICAL if pair.shared and np.array_equal(old, new) else "",
        basis=basis + ("; documents" if has_documents else ""),
    )  # fmt: skip


def _document_variance(pair: Pair, documents: Sequence[pd.DataFrame]) -> tuple[float, float]:
    """Return the variance of the mean difference over documents, and how many of equal size."""
    means = list[pd.DataFrame]()
    for table, own in zip((pair.old, pair.new), documents, strict=True):
        runs = table.loc[pair.shared or table.index, "run"]
        groups = own[own["run"].isin(runs)].groupby("document")
        means.append(groups.agg(nats=("nats", "mean"), bytes=("bytes", "first")).astype(float))
    nats, sizes = ([one[name].to_numpy() for one in means] for name in ("nats", "bytes"))
    if pair.score != SCORES[0] or not np.array_equal(sizes[0], sizes[1]) or not len(sizes[0]):
        return float("nan"), float("nan")
    return float(document_variances(np.array(nats), sizes[0])[0, 1]), effective_n(sizes[0])
