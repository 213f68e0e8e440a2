"""Draw the figures of the README from results/reference into docs/figures: `make docs`."""

from pathlib import Path

import pandas as pd

from bench.reporting.csv_export import read_table
from bench.reporting.figures.files import write_figures

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "results" / "reference" / "cpu-2core"
FOLDER = ROOT / "docs" / "figures"
FIRST_CONTROL_SEED = 100  # of conf/suite/default.yaml


def reference_tables() -> dict[str, pd.DataFrame]:
    """Return the CSV files of the reference, with columns that came after it was made."""
    tables = {path.name: read_table(path) for path in sorted(REFERENCE.glob("*.csv"))}
    tables["scaling.csv"] = pd.DataFrame(columns=["data", "context", "unit"])
    subjects = tables["speeds.csv"].drop_duplicates("arch").set_index("arch")["subject"]
    summary = tables["summary.csv"]
    tables["summary.csv"] = summary.assign(subject=summary["arch"].map(subjects))
    for name in ("runs.csv", "curves.csv"):
        seeds = tables[name]["seed"]
        tables[name] = tables[name].assign(control=seeds >= FIRST_CONTROL_SEED)
    return tables


if __name__ == "__main__":
    write_figures(reference_tables(), FOLDER, ("svg",))
