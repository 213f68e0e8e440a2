"""The head of the page: what was compared, where it comes from, and the answer with its caveats."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bench.analysis import budgets
from bench.analysis.answer import REASONS, Answer, noise_text
from bench.analysis.build import Analysis
from bench.analysis.comparisons import COMPARISON_KEY, explain_split
from bench.analysis.formatting import format_fixed, format_large, join_words, plural
from bench.analysis.more_data import more_data_sentence
from bench.config.plugins import DISTRIBUTION
from bench.reporting.page_data import measure_spec, measure_text
from bench.reporting.section import RowText
from bench.reporting.sections import facts
from bench.reporting.sections.regrets import regret_sentences
from bench.reporting.sections.scaling_text import scaling_sentences
from bench.reporting.sentences import say
from bench.reporting.summary_text import UNFAIR, measurement_sentences, summary_sentences
from bench.system.host import package_version

MAX_NAMED = 3  # sources in the title, and winners of a card; more are counted
BADGE_TITLES = {  # of other codes the code itself is the title
    "baseline-better": "an n-gram is better",
    "rate-elsewhere": "rate searched at other settings",
    "train-form": "low FLOP/s in training",
    "decode-form": "low FLOP/s in decoding",
    "decode-steps": "decoding, kind of step",
}


def page_title(analysis: Analysis) -> str:
    """Return what was compared: 7 architectures on python_docs, 0.8 M parameters, …, 3 seeds."""
    rows = analysis.variants.summary
    rows = rows[(rows["seeds"] > 0) & ~rows["control"].astype(bool)]
    if rows.empty:
        measured = {one for session in analysis.sessions for one in session.medians.index}
        return f"{plural(len(measured), 'measured architecture')}" if measured else "No result yet"
    sources, sizes = (sorted(set(rows[name].map(str))) for name in ("data", "matched"))
    seeds = (int(rows["seeds"].min()), int(rows["seeds"].max()))
    return say("title", rows["arch"].nunique(), sources, sizes, _amount_text(rows), seeds)[0]


def _amount_text(rows: pd.DataFrame) -> str:
    if set(rows["length"]) != {budgets.TOKENS}:
        return join_words(sorted(set(rows["length"].map(str))))
    low, high = rows["tokens_seen"].min(), rows["tokens_seen"].max()
    span = format_large(high) if low == high else f"{format_large(low)} to {format_large(high)}"
    return f"{span} tokens"


def page_facts(name: str, analysis: Analysis) -> facts.Pairs:
    """Return when, by what and on which machine the numbers were made."""
    runs = analysis.variants.runs
    environments = [*runs["environment"], *(one.environment for one in analysis.sessions)]
    machines = {
        str(one.get("accelerator") or one.get("processor") or "unknown"): one.get("cores", "?")
        for one in environments
        if one
    }
    days = [
        str(start.get("at", ""))[:10]
        for one in runs["provenance"]
        for start in one.get("starts") or []
        if isinstance(start, dict)
    ]
    pairs = [
        ("results", name),
        ("runs", _count_runs(runs["status"])),
        ("last run", max(days, default="")),
        ("version", package_version(DISTRIBUTION)),
        ("commit", " · ".join(facts.source_commits(runs["provenance"]))),
        ("machine", " · ".join(f"{one}, {cores} cores" for one, cores in sorted(machines.items()))),
    ]
    return [(key, value) for key, value in pairs if value]


def _count_runs(status: pd.Series) -> str:
    """Return how many runs are done, and of the others how many ended how."""
    if status.empty:
        return ""
    counts = status.value_counts()
    others = [f"{count:,} {name}" for name, count in counts.drop("done", errors="ignore").items()]
    return ", ".join([f"{counts.get('done', 0):,} done", *(others or ["none failed"])])


def commands(analysis: Analysis) -> list[str]:
    """Return the commands that made the runs, the most frequent first."""
    typed = pd.Series([one.get("command", "") for one in analysis.variants.runs["provenance"]])
    typed = typed[typed.astype(bool)]
    return [str(command) for command in typed.value_counts().index[:1]]


def notes(analysis: Analysis) -> dict[str, Any]:
    """Return what a reader has to know first: what cannot be compared, and what is missing."""
    return {
        "apart": explain_split([part.rows for part in analysis.comparisons], COMPARISON_KEY),
        "stale": int(analysis.variants.summary["stale"].sum()),
        "unfinished": int((analysis.variants.runs["status"] != "done").sum()),
        "excluded": len(analysis.records.excluded),
    }


def answers(analysis: Analysis) -> Iterator[dict[str, Any]]:
    """Yield the answers of each comparison, or of what was measured alone."""
    overall = [sentence for study in analysis.studies for sentence in scaling_sentences(study)]
    if not len(analysis.variants.runs):
        overall += measurement_sentences(analysis.groups, analysis.answers)
    if overall:
        yield _block("", analysis.answers, overall)
    alarm = f"{UNFAIR} See the digests below."
    for part in analysis.comparisons:
        several = len(analysis.comparisons) > 1 and part.regrets
        sentences = summary_sentences(part, analysis.answers)
        own = regret_sentences(part) if several else sentences
        more = {"alarm": alarm * (not part.equal_order), "more": more_data_sentence(part, analysis)}
        yield _block(part.name, analysis.answers, own) | more


def _block(name: str, answers: Sequence[Answer], sentences: list[str]) -> dict[str, Any]:
    """Return what the template needs; caveats of one kind are together, each is given once."""
    own = [answer for answer in answers if answer.comparison == name]
    caveats: dict[str, dict[str, None]] = {}  # sentences by title, in order
    for code, text, rows in (badge for answer in own for badge in answer.badges):
        title = BADGE_TITLES.get(code, code.replace("-", " "))
        caveats.setdefault(title, {})[RowText(text, rows)] = None
    in_badges = {text for texts in caveats.values() for text in texts}
    return {
        "name": name,
        "cards": [_card(answer) for answer in own],
        "badges": [(title, list(texts)) for title, texts in caveats.items()],
        "sentences": [sentence for sentence in sentences if sentence not in in_badges],
        "alarm": "",
        "more": "",
    }


def _card(answer: Answer) -> dict[str, str]:
    """Return what is best at a question, by how much, and how sure that is."""
    labels = [winner.label for winner in answer.winners]
    left, unit = len(labels) - MAX_NAMED, measure_spec(answer.metric).unit
    names = " ≈ ".join([*labels[:MAX_NAMED], *[f"{left} more"] * (left > 0)])
    value = measure_text(answer.metric, answer.winners[0].value) if labels else ""
    is_ratio = answer.noise is None or answer.is_ratio
    return {
        "title": answer.title,
        "winners": names or "no claim",
        "value": f"{value} {unit}" if value and unit and unit != "bytes" else value,
        "gap": REASONS.get(answer.reason, "") or "".join(say("gap", answer)),
        "noise": noise_text(answer) if is_ratio else f"A/A ±{format_fixed(answer.noise_size)}",
        "session": answer.session,
    }
