"""The head of the page: what was compared, where it comes from, and the answer."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench.analysis import budgets
from bench.analysis.build import Analysis
from bench.analysis.comparisons import COMPARISON_KEY, Comparison, explain_split
from bench.analysis.formatting import format_large, join_words, plural
from bench.config.plugins import DISTRIBUTION
from bench.reporting.answer_strip import Card, answer_cards
from bench.reporting.sections import facts
from bench.reporting.sections.regrets import regret_sentences
from bench.reporting.sections.scaling_text import scaling_sentences
from bench.reporting.summary_text import measurement_sentences, summary_sentences
from bench.system.host import package_version

MAX_NAMED = 3  # sources in the title; more are counted


def page_title(analysis: Analysis) -> str:
    """Return what was compared: 7 architectures on python_docs, 0.8 M parameters, …, 3 seeds."""
    rows = analysis.variants.summary
    rows = rows[(rows["seeds"] > 0) & ~rows["control"].astype(bool)]
    if rows.empty:
        measured = {one for session in analysis.sessions for one in session.medians.index}
        return f"{plural(len(measured), 'measured architecture')}" if measured else "No result yet"
    return ", ".join(
        [
            f"{plural(rows['arch'].nunique(), 'architecture')} on {_sources(rows['data'])}",
            _size_text(rows),
            _amount_text(rows),
            _span_text(rows["seeds"], "seed"),
        ]
    )


def _sources(column: "pd.Series[Any]") -> str:
    names = sorted(set(column.map(str)))
    return join_words(names) if len(names) <= MAX_NAMED else f"{len(names)} sources"


def _size_text(rows: pd.DataFrame) -> str:
    budgets_of = sorted(set(rows["matched"].map(str)))
    if len(budgets_of) > 1:
        return f"{len(budgets_of)} sizes"
    number, _, unit = budgets_of[0].partition(" ")
    return f"{format_large(float(number.replace(',', '')))} {unit}".replace("  ", " ")


def _amount_text(rows: pd.DataFrame) -> str:
    if set(rows["length"]) != {budgets.TOKENS}:
        return join_words(sorted(set(rows["length"].map(str))))
    low, high = rows["tokens_seen"].min(), rows["tokens_seen"].max()
    span = format_large(high) if low == high else f"{format_large(low)} to {format_large(high)}"
    return f"{span} tokens"


def _span_text(counts: "pd.Series[Any]", noun: str) -> str:
    low, high = int(counts.min()), int(counts.max())
    return plural(low, noun) if low == high else f"{low} to {plural(high, noun)}"


def page_facts(name: str, analysis: Analysis) -> facts.Pairs:
    """Return when, by what and on which machine the numbers were made."""
    runs = analysis.variants.runs
    commits = facts.source_commits(runs["provenance"])
    environments = [*runs["environment"], *(one.environment for one in analysis.sessions)]
    machines = {
        str(one.get("accelerator") or one.get("processor") or "unknown"): one.get("cores", "?")
        for one in environments
        if one
    }
    hosts = [f"{machine}, {cores} cores" for machine, cores in sorted(machines.items())]
    pairs = [
        ("results", name),
        ("last run", max(_starts(runs["provenance"]), default="")),
        ("version", package_version(DISTRIBUTION)),
        ("commit", " · ".join(commits)),
        ("machine", " · ".join(hosts)),
    ]
    return [(key, value) for key, value in pairs if value]


def _starts(provenances: Iterable[Any]) -> list[str]:
    """Return the days on which runs were started."""
    return [
        str(start.get("at", ""))[:10]
        for one in provenances
        for start in one.get("starts") or []
        if isinstance(start, dict)
    ]


def commands(analysis: Analysis) -> list[str]:
    """Return the commands that made the runs, the most frequent first."""
    typed = pd.Series([one.get("command", "") for one in analysis.variants.runs["provenance"]])
    typed = typed[typed.astype(bool)]
    return [str(command) for command in typed.value_counts().index[:1]]


def answers(analysis: Analysis) -> list[dict[str, Any]]:
    """Return the answers of each comparison, or of what was measured alone."""
    cards = answer_cards(analysis)
    overall = [sentence for study in analysis.studies for sentence in scaling_sentences(study)]
    if not len(analysis.variants.runs):
        overall += measurement_sentences(analysis.groups, analysis.answers)
    blocks = [_block("", cards.get("", []), overall)] if overall else []
    for part in analysis.comparisons:
        several = len(analysis.comparisons) > 1 and part.regrets
        sentences = summary_sentences(part, analysis.answers)
        own = regret_sentences(part) if several else sentences
        blocks.append(_block(part.name, cards.get(part.name, []), own, part.equal_order))
    return blocks


def _block(
    name: str, cards: list[Card], sentences: list[str], equal_order: bool = True
) -> dict[str, Any]:
    """Return what the template needs; a caveat of several answers is given once."""
    badges = list(dict.fromkeys(badge for card in cards for badge in card.badges))
    caveats = {text for _, text in badges}
    return {
        "name": name,
        "cards": cards,
        "badges": badges,
        "sentences": [sentence for sentence in sentences if sentence not in caveats],
        "equal_order": equal_order,
    }


def notes(analysis: Analysis) -> dict[str, Any]:
    """Return what a reader has to know first: what cannot be compared, and what is missing."""
    parts: Sequence[Comparison] = analysis.comparisons
    return {
        "apart": explain_split([part.rows for part in parts], COMPARISON_KEY),
        "stale": int(analysis.variants.summary["stale"].sum()),
        "unfinished": int((analysis.variants.runs["status"] != "done").sum()),
        "excluded": len(analysis.records.excluded),
    }
