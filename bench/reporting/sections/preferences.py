"""What architectures learned from preferences: at an equal KL, with what it rests on."""

from typing import Any

from bench.analysis.build import Analysis
from bench.analysis.preferences import PreferenceStudy
from bench.reporting.charts.preference_frontier import preference_frontier
from bench.reporting.preference_data import frontier_data
from bench.reporting.section import Chart, Section, render
from bench.reporting.sections.preference_tables import preference_tables

FORMS = {
    "best_of": "best of n: gain = d(α − β·d) with d = √KL",
    "rl": "RLOO: gain = d(α − β·log d)",
}
LARGEST_KL = 100.0  # a peak beyond it was extrapolated too far to be named


def preferences(analysis: Analysis) -> Section | None:
    """Return what was learned from preferences, a part for each group of comparable stages."""
    studies = [study for study in analysis.preferences if len(study.numbers)]
    if not studies:
        return None
    datasets = {f"{study.name}-frontier": frontier_data(study) for study in studies}
    charts = {
        study.name: Chart(
            f"{study.name}-chart", "Gold and proxy against √KL",
            preference_frontier(f"{study.name}-frontier"),
        )
        for study in studies
    }  # fmt: skip
    contents = [_content(study, charts[study.name]) for study in studies]
    html = render("preferences.html", studies=contents)
    title = "Learning from preferences"
    return Section("preferences", title, html, tuple(charts.values()), datasets)


def _content(study: PreferenceStudy, chart: Chart) -> dict[str, Any]:
    failed = study.parts[study.parts["status"] == "failed"]
    idle = study.numbers[(study.numbers["metric"] == "idle_updates") & (study.numbers["value"] > 0)]
    verdicts = study.verdicts[study.verdicts["measure"] == "gain"]
    return {
        "name": study.name,
        "title": study_title(study),
        "chart": chart if study.simulated and len(study.frontier) else None,
        "simulated": study.simulated,
        "tables": preference_tables(study),
        "verdicts": list(verdicts["sentence"]),
        "fits": fit_lines(study),
        "failed": [f"{row.run}, {row.part}: {row.reason}" for row in failed.itertuples()]
        + [
            f"{row.run}, {row.part}: in {row.value:.0f} updates no group had two different "
            "returns, so that nothing was learned"
            for row in idle.itertuples()
        ],
        "sheet": fairness_sheet(study),
    }


def study_title(study: PreferenceStudy) -> str:
    """Return what a study is called."""
    first, stages = study.stages.iloc[0], len(study.stages)
    source = f"gold reward {first['gold']}" if study.simulated else str(first["labels_from"])
    return f"{first['data']}, {source}: {stages} {'stage' if stages == 1 else 'stages'}"


def fit_lines(study: PreferenceStudy) -> list[str]:
    """Return the forms of over-optimisation that were fitted to gains over seeds."""
    return [
        f"{arch}, {FORMS[fit.form]}, α = {fit.slope:.3f}, β = {fit.bend:.3f}, R² = "
        f"{fit.r_squared:.2f}"
        + (f": largest gain at KL {fit.peak_kl:.1f}" if fit.peak_kl < LARGEST_KL else "")
        for arch, fits in sorted(study.fits.items())
        for fit in fits.values()
    ]


def fairness_sheet(study: PreferenceStudy) -> list[str]:
    """Return what is equal for every architecture of a study, and what is not."""
    other = study.stages.iloc[0]["reward_arch"]
    lines = [
        "Same pairs, labels and their order, prompts of every update and look for each seed; same "
        "updates, responses and epochs.",
        "Learning rate: the same share of each architecture's own pre-training rate.",
        f"Every reward model is a {other}."
        if other
        else "The reward model is the architecture itself: policy and proxy are compared as one.",
        "Responses are drawn from the full softmax at temperature 1; KL is the exact sum over the "
        "vocabulary at each visited place.",
    ]
    if not study.simulated:
        lines.append("Labels are people's: agreement on held-out labels is all that is claimed.")
    return lines
