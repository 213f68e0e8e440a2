"""Known floors: how far each row stays behind the best possible, a table for each source and one over all of them."""

from collections.abc import Sequence

import pandas as pd

from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import (
    NO_VALUE,
    format_bytes,
    format_count,
    format_fixed,
    format_percent,
    join_words,
    plural,
)
from bench.analysis.rows import each
from bench.reporting.html_table import Cell, Table, name_cell

CERTAIN = 0.9999  # of the oracle's guesses are right: the question is then who is right, not by how many nats
ABOUT = (
    "Regret: the model’s nats per token less the best possible, on the same tokens and given exactly what the model saw. "
    "0 can not be undercut. ± is the standard error over {}."
)


def about(rows: pd.DataFrame) -> str:
    """What a regret is, and what its error is over: of one seed the windows alone."""
    many = bool(rows["seeds"].min() > 1)
    return ABOUT.format(
        "windows and seeds"
        if many
        else "windows only: seeds were not sampled, another one may differ by more"
    )


def oracle_is_certain(rows: pd.DataFrame) -> bool:
    """Whether the best possible is always right on a source."""
    return bool(rows["oracle_accuracy"].min() >= CERTAIN)


def format_regret(value: float, error: float) -> str:
    """A regret to as many places as its error gives sense to: three, and up to five for errors below a thousandth."""
    return format_fixed(value, 3 + (error < 0.001) + (error < 0.0001))


def regret_table(name: str, rows: pd.DataFrame, folded: bool = False) -> Table:
    """The rows of one source, the least regret first; folded away where one table over all sources stands above."""
    columns = [
        ("architecture", "a row is a variant; seeds are averaged"),
        ("regret", "nats per token above the best possible; below it the standard error"),
        ("nats per token", "of the scored tokens"),
        ("right", "share of the scored tokens that were the likeliest to the model"),
        ("state", "bytes of one sequence’s state at the full context"),
        ("parameters", "all of them, embeddings included"),
        ("seeds", "finished seeds"),
    ]
    best = rows.loc[~rows["control"], "regret"].min()
    cells = [
        [
            name_cell(row),
            _regret(row, not row.control and row.regret == best),
            Cell(format_fixed(row.nats_per_token, 4), row.nats_per_token),
            Cell(format_percent(row.accuracy), row.accuracy),
            Cell(
                format_bytes(row.state_bytes),
                row.state_bytes if row.state_bytes == row.state_bytes else None,
            ),
            Cell(format_count(row.parameters), row.parameters),
            Cell(
                str(row.seeds)
                if row.seeds == row.seeds_asked
                else f"{row.seeds} of {row.seeds_asked}",
                float(row.seeds),
            ),
        ]
        for row in each(rows)
    ]
    floor = rows.iloc[0]
    reached = f"The best possible here: {format_fixed(floor['oracle_nats_per_token'], 4)} nats per token, right in "
    reached += f"{format_percent(floor['oracle_accuracy'])} of them; {floor['part']} part, {floor['protocol']}."
    fold = (
        f"The {plural(len(rows), 'row')} of {floor['data']}, with nats per token, state and parameters"
        if folded
        else ""
    )
    return Table(name, reached, columns, cells, [about(rows)], folded=fold)


def _regret(row: object, best: bool) -> Cell:
    value, error = float(getattr(row, "regret", 0)), float(getattr(row, "regret_standard_error", 0))
    return Cell(
        format_regret(value, error),
        value,
        f"± {format_regret(error, error)}",
        "best" if best else "",
    )


def regret_sentences(comparison: Comparison) -> list[str]:
    """Who comes nearest to the best possible, and by how much others stay behind, for each table."""
    said = []
    for table in comparison.regrets:
        rows = table[~table["control"]]
        first, last = rows.iloc[0], rows.iloc[-1]
        by = format_regret(first["regret"], first["regret_standard_error"])
        error = format_regret(first["regret_standard_error"], first["regret_standard_error"])
        near = rows[
            rows["regret"] - first["regret"]
            < 2 * (rows["regret_standard_error"] + first["regret_standard_error"])
        ]
        others = [str(label) for label in near["label"] if label != first["label"]]
        also = (
            f", within two errors of it {join_words(others[:4])}{' and others' if len(others) > 4 else ''}"
            if others
            else ""
        )
        line = f"Best possible: {format_fixed(first['oracle_nats_per_token'])} nats per token. Nearest: {first['label']}, "
        line += f"{by} ± {error} above"
        far = (
            f"; furthest: {last['label']}, {format_fixed(last['regret'])}" if len(rows) > 1 else ""
        )
        right = f", right in {format_percent(first['accuracy'])}" if oracle_is_certain(rows) else ""
        said.append(f"{line}{right}{also}{far}.")
    return said


def regret_tables(parts: Sequence[Comparison]) -> list[tuple[str, pd.DataFrame]]:
    """The tables of all known floors without A/A controls, under the names of their sources, and in the order of those."""
    tables = [table[~table["control"]] for part in parts for table in part.regrets]
    budgets = {(int(table["budget"].iloc[0]), int(table["context"].iloc[0])) for table in tables}
    found = []
    for table in tables:
        first = table.iloc[0]
        apart = (
            f", {first['budget']:,} parameters, {first['context']} tokens"
            if len(budgets) > 1
            else ""
        )
        found.append((f"{first['data']}{apart}", table))
    return sorted(found, key=lambda pair: pair[0])


def regret_overview(parts: Sequence[Comparison]) -> Table | None:
    """A row an architecture, a column a source: who can do what. None where fewer than two floors are known."""
    tables = regret_tables(parts)
    if len(tables) < 2:
        return None
    ranks = pd.concat([table.set_index("label")["regret"].rank() for _, table in tables], axis=1)
    order = ranks.fillna(len(ranks)).mean(axis=1).sort_values(kind="stable").index
    named = {row.label: row for _, table in tables for row in each(table)}
    rows = []
    for label in order:
        row = named[label]
        line = [Cell(str(label), str(label), small=str(row.family), colour=int(row.colour))]
        for _, table in tables:
            found = next((one for one in each(table) if one.label == label), None)
            line.append(Cell(NO_VALUE) if found is None else _crossed(found, table))
        rows.append(line)
    columns = [
        ("architecture", "the best mean rank first"),
        *((title, "regret, nats per token") for title, _ in tables),
    ]
    notes = [
        about(pd.concat([table for _, table in tables])),
        "Where the best possible is always right, the share of right answers stands below instead.",
    ]
    return Table(
        "known-floors", "Regret of each architecture on each source.", columns, rows, notes
    )


def _crossed(row: object, table: pd.DataFrame) -> Cell:
    cell = _regret(row, getattr(row, "regret", 0) == table["regret"].min())
    if not oracle_is_certain(table):
        return cell
    return Cell(
        cell.text,
        cell.value,
        f"{format_percent(float(getattr(row, 'accuracy', 0)))} right",
        cell.mark,
    )
