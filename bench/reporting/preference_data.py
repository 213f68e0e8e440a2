"""The points of the chart of gold and proxy against KL."""

import numpy as np
import pandas as pd

from bench.analysis.preferences import REFERENCE_METHOD, PreferenceStudy
from bench.reporting.palette import assign_styles


def frontier_data(study: PreferenceStudy) -> pd.DataFrame:
    """Return the points of the chart: means over seeds of each method's settings, and the start."""
    points = _points(study.frontier)
    styles = assign_styles([(arch, arch) for arch in points["arch"]])
    farthest = points.groupby(["arch", "method"])["kl"].transform("max")
    named = (points["method"] == REFERENCE_METHOD) & (points["kl"] == farthest)
    return points.assign(
        label=points["arch"],
        end=points["arch"].where(named, ""),
        root=np.sqrt(points["kl"]),
        kl_text=points["kl"].map("{:.2f} nats".format),
        gain_text=points["gain"].map("{:+.3f}".format),
        proxy_text=points["proxy"].map("{:+.2f}".format),
        light=[styles[arch].light for arch in points["arch"]],
        dark=[styles[arch].dark for arch in points["arch"]],
    )


def _points(frontier: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each setting over seeds, and the start of each line."""
    rows = frontier[~frontier["control"].astype(bool) & frontier["kl"].notna()].copy()
    is_best = rows["method"] == "best_of"
    rows["setting"] = np.where(
        is_best, rows["n"].map("n={:.0f}".format), rows["beta"].map("β={:g}".format)
    )
    groups = rows.groupby(["arch", "method", "setting"])
    means = groups[["kl", "gain", "proxy"]].mean()
    means["seeds"] = groups["seed"].nunique().astype(str)
    means = means.reset_index()
    starts = means[["arch", "method"]].drop_duplicates()
    starts = starts.assign(setting="start", kl=0.0, gain=0.0, proxy=0.0, seeds="")
    return pd.concat([starts, means], ignore_index=True)
