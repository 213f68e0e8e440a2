"""What architectures learned from preferences: at an equal KL, with what it rests on."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.build import Analysis
from bench.analysis.formatting import plural
from bench.analysis.preferences import REFERENCE_METHOD, PreferenceStudy
from bench.reporting.charts.folded import preference_frontier
from bench.reporting.palette import with_styles
from bench.reporting.section import Chart, RowText, Section, render
from bench.reporting.sections.preference_tables import preference_tables
from bench.reporting.sentences import say
from bench.reporting.views import View

FORMS = {
    "best_of": "best of n: gain = d(α − β·d) with d = √KL",
    "rl": "RLOO: gain = d(α − β·log d)",
}
METHODS = {"rloo": "RLOO", "ppo": "PPO", "dpo": "DPO", "best_of": "best of n"}
LARGEST_KL = 100.0  # a peak beyond it was extrapolated too far to be named


def preferences(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return what was learned from preferences, a part for each group of comparable stages."""
    studies = [study for study in analysis.preferences if len(study.numbers)]
    if not studies:
        return None
    drawn = [study for study in studies if study.simulated and len(study.frontier)]
    datasets = {f"{study.name}-frontier": frontier_data(study) for study in drawn}
    charts = {
        study.name: Chart(
            f"{study.name}-chart", "Gold and proxy against √KL",
            preference_frontier(name, [*dict.fromkeys(datasets[name]["method"])]),
            say("frontier")[0],
        )
        for name, study in zip(datasets, drawn, strict=True)
    }  # fmt: skip
    contents = [_content(study, charts.get(study.name)) for study in studies]
    html = render("preferences.html", studies=contents)
    title = "Learning from preferences"
    return Section("preferences", title, html, tuple(charts.values()), datasets)


def _content(study: PreferenceStudy, chart: Chart | None) -> dict[str, Any]:
    first = study.stages.iloc[0]
    source = f"gold reward {first['gold']}" if study.simulated else str(first["labels_from"])
    return {
        "name": study.name,
        "title": f"{first['data']}, {source}: {plural(len(study.stages), 'stage')}",
        "chart": chart,
        "tables": preference_tables(study),
        "verdicts": [
            RowText(str(one.sentence), (str(one.better), str(one.other)), is_pair=True)
            for one in study.verdicts[study.verdicts["measure"] == "gain"].itertuples()
        ],
        "fits": _fit_lines(study),
        "failed": list(_failed_lines(study)),
        "sheet": say("preferences", first["reward_arch"], study.simulated),
    }


def _failed_lines(study: PreferenceStudy) -> Iterator[str]:
    """Yield the parts that failed, or learned nothing in some of their updates."""
    numbers = study.numbers
    for row in study.parts[study.parts["status"] == "failed"].itertuples():
        yield f"{row.run}, {row.part}: {row.reason}"
    for row in numbers[(numbers["metric"] == "idle_updates") & (numbers["value"] > 0)].itertuples():
        yield (
            f"{row.run}, {row.part}: in {row.value:.0f} updates no group had two different "
            "returns, so that nothing was learned"
        )


def _fit_lines(study: PreferenceStudy) -> list[str]:
    return [
        RowText(_fit_line(arch, fit), [arch])
        for arch, fits in sorted(study.fits.items())
        for fit in fits.values()
    ]


def _fit_line(arch: str, fit: Any) -> str:
    peak = f": largest gain at KL {fit.peak_kl:.1f}" if fit.peak_kl < LARGEST_KL else ""
    numbers = f"α = {fit.slope:.3f}, β = {fit.bend:.3f}, R² = {fit.r_squared:.2f}"
    return f"{arch}, {FORMS[fit.form]}, {numbers}{peak}"


def frontier_data(study: PreferenceStudy) -> pd.DataFrame:
    """Return the points of the chart: means over seeds of each method's settings, and the start."""
    points = _frontier_points(study.frontier)
    farthest = points.groupby(["arch", "method"])["kl"].transform("max")
    named = (points["method"] == REFERENCE_METHOD) & (points["kl"] == farthest)
    points = points.assign(
        label=points["arch"],
        base=points["arch"],
        method=points["method"].map(METHODS),
        end=points["arch"].where(named, ""),
        root=np.sqrt(points["kl"]),
        kl_text=points["kl"].map("{:.2f} nats".format),
        gain_text=points["gain"].map("{:+.3f}".format),
        proxy_text=points["proxy"].map("{:+.2f}".format),
    )
    return with_styles(points)


def _frontier_points(frontier: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each setting over seeds, and the start of each line."""
    rows = frontier[~frontier["control"].astype(bool) & frontier["kl"].notna()].copy()
    texts = rows["n"].map("n={:.0f}".format), rows["beta"].map("β={:g}".format)
    rows["setting"] = np.where(rows["method"] == "best_of", *texts)
    groups = rows.groupby(["arch", "method", "setting"])
    means = groups[["kl", "gain", "proxy"]].mean()
    means = means.assign(seeds=groups["seed"].nunique().astype(str)).reset_index()
    starts = means[["arch", "method"]].drop_duplicates()
    starts = starts.assign(setting="start", kl=0.0, gain=0.0, proxy=0.0, seeds="")
    return pd.concat([starts, means], ignore_index=True)
