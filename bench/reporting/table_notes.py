"""What the numbers of a view's table rest on, in sentences under it."""

from typing import Any

from bench.reporting.views import View


def table_notes(view: View) -> list[str]:
    """Return how the rows were scored, what intervals and verdicts rest on, and the baselines."""
    if not view.quality:
        return []
    notes = [_scored(view.rows.iloc[0])]
    if view.quality == "bits_per_byte":
        notes += sorted({_basis_note(row) for row in view.rows.itertuples()})
    notes += view.verdicts.notes if view.verdicts is not None else ()
    if view.baselines is not None:
        notes += [f"{line.name}: {line.note}." for line in reversed(view.baselines.lines)]
        notes += [f"No baselines: {view.baselines.reason}."] * bool(view.baselines.reason)
    return notes


def _scored(row: Any) -> str:
    part, protocol = row["part"] or "held-out", row["protocol"] or "an unnamed protocol"
    return f"Scored on the {part} part by {protocol}. Lower is better."


def _basis_note(row: Any) -> str:
    basis = row.bits_per_byte_basis
    if basis == "seeds and documents":
        return (
            "Intervals cover two sources of variance: seeds (t) and held-out documents. Rows share "
            "their documents, so the interval of a difference is narrower than these."
        )
    if basis == "nothing":
        return "One seed and no nats per document: no interval can be given."
    unsampled = ": seeds were not sampled, another seed may differ by more"
    tail = unsampled if basis == "documents" else ""
    return f"Where noted so, intervals cover the variance of {basis} only{tail}."
