"""Whether more training would change the winner: from budgets, fitted laws and late losses."""

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.analysis import budgets
from bench.analysis.answer import QUALITY, Answer
from bench.analysis.badges import name_some
from bench.analysis.build import Analysis
from bench.analysis.comparisons import COMPARISON_KEY, Comparison
from bench.analysis.families import contenders
from bench.analysis.formatting import format_fixed, format_large, join_words
from bench.analysis.scaling import LawCrossing, ScalingStudy, leaders
from bench.stats.scaling_laws import DATA, HORIZON

QUESTION = "Would more data change the winner?"
LONGER = 2  # times the training of the run that would answer
UNCLEAR = "the fitted laws do not tell whether the order changes beyond what was measured"
Quality = tuple[Comparison, Answer]  # a comparison and its answer about quality


def more_data_sentence(part: Comparison, analysis: Analysis) -> str:
    """Return the question with its answer, or the run that would answer it; empty of one row."""
    first = {
        one.comparison: one for one in reversed(analysis.answers) if one.question == QUALITY
    }  # of several tables the largest
    own = [(one, first[one.name]) for one in analysis.comparisons if one.name in first]
    own = _same_but_length(part, own)
    if part.name not in first or len(contenders(part.rows)) < 2:
        return ""
    law = _by_laws(part, analysis.studies)
    texts = [_over_budgets(own) if len(own) > 1 else "", law]
    if not any(texts):
        texts = [_at_the_end(part, first[part.name])]
    if law in ("", UNCLEAR):
        texts.append(_longer(own[-1][0]))
    return " ".join([QUESTION, *(f"{text[0].upper()}{text[1:]}." for text in texts if text)])


def _recipes(part: Comparison) -> "pd.Series[str]":
    return part.runs.drop_duplicates("row").set_index("row")["recipe"]


def _winners(own: Quality) -> dict[str, str]:
    """Return the labels of the rows that no row is clearly better than, by recipe; best first."""
    part, answer = own
    recipes = _recipes(part)
    return {str(recipes[rank.row]): rank.label for rank in answer.winners}


def _same_but_length(part: Comparison, own: Sequence[Quality]) -> list[Quality]:
    """Return the comparisons that differ in the length of training alone, the shortest first."""
    key, unit = part.rows[COMPARISON_KEY[:-1]].iloc[0], _unit(part)
    same = [
        (one, answer)
        for one, answer in own
        if one.rows[COMPARISON_KEY[:-1]].iloc[0].equals(key) and _unit(one) == unit
    ]
    return sorted(same, key=lambda pair: float(pair[0].rows["tokens_seen"].median()))


def _unit(part: Comparison) -> str:
    return str(part.rows["length"].iloc[0]).partition(" ")[2]


def _length(part: Comparison) -> str:
    length = str(part.rows["length"].iloc[0])
    seen = f"{format_large(part.rows['tokens_seen'].max())} tokens"
    return seen if length == budgets.TOKENS else length


def _over_budgets(parts: Sequence[Quality]) -> str:
    """Return whether the winners of the shortest training are those of the longest."""
    (first, _), (last, _) = ends = parts[0], parts[-1]
    before, after = map(_winners, ends)
    span = f"from {_length(first)} to {_length(last)}"
    if {*after} - {*_recipes(first)} or {*before} - {*_recipes(last)}:
        return f"{span} the rows differ, so that the winners cannot be compared"
    names = ", then ".join(join_words([*one.values()]) for one in (before, after))
    if any(answer.reason for _, answer in parts):
        return f"not tested {span}, for want of seeds: the lowest mean is that of {names}"
    if not before.keys() & after.keys():
        return f"yes, {span} the winner changes: {names}"
    if next(iter(after)) != next(iter(before)):
        return f"not shown {span}: best are {names}, which overlap"
    return f"no, {span}: {_kept(parts)}"


def _kept(parts: Sequence[Quality]) -> str:
    best, label = next(iter(_winners(parts[-1]).items()))
    everywhere = all(best in _winners(one) for one in parts)
    where = f"at each of {len(parts)} budgets" if everywhere else "at both ends"
    return f"{where} no row is clearly better than {label}"


def _by_laws(part: Comparison, studies: Sequence[ScalingStudy]) -> str:
    """Return what the fitted laws say of more data than was measured; empty without a law."""
    named, context = set(part.rows["data"]), part.rows["context"].iloc[0]
    study = next((one for one in studies if one.data in named and one.context == context), None)
    crossings = [one for one in study.crossings if one.axis == DATA] if study else []
    if not study or not crossings:
        return ""
    rows = leaders(study).sort_values(["budget", "tokens_seen"])["label"]
    best = str(rows.iloc[-1]) if len(rows) else ""  # at the largest size with the most data
    pairs = [one for one in crossings if best in (one.leader, one.follower)]
    return _law_text(best, pairs) if pairs else UNCLEAR


def _law_text(best: str, pairs: Sequence[LawCrossing]) -> str:
    """Return whether another row overtakes the best; `pairs`: its crossings along the data."""
    size = f"at {format_large(pairs[0].fixed)} parameters"
    later = [one for one in pairs if one.is_certain and one.is_finite and one.meeting.beyond > 1]
    overtaken = [one for one in later if one.leader == best]
    if overtaken:
        first = min(overtaken, key=lambda one: one.meeting.beyond)
        place = f"about {format_large(first.meeting.place)} tokens"
        return f"by the fitted laws {first.follower} overtakes {best} at {place}, {size}"
    if not later and all(one.is_certain for one in pairs):
        return f"by the fitted laws {best} stays the best up to {HORIZON:g} times the data, {size}"
    return UNCLEAR


def _behind(rows: pd.DataFrame, answer: Answer) -> dict[str, str]:
    """Return by label each row with how far it is behind the best."""
    best = answer.winners[0].value
    scores = zip(rows["label"].map(str), rows[answer.metric], strict=True)
    return {label: f"{label} ({format_fixed(x - best)} behind the best)" for label, x in scores}


def _late_fall(row: Any) -> float:
    return budgets.late_fall(*(getattr(row, name) for name in budgets.LATE_COLUMNS))


def _at_the_end(part: Comparison, answer: Answer) -> str:
    """Return what the late fall of the validation losses suggests about one budget."""
    rows: Any = contenders(part.rows)
    rows = rows[~rows.index.isin([rank.row for rank in answer.winners])]
    falls = {str(row.label): _late_fall(row) for row in rows.itertuples()}
    least = f"{100 * budgets.STILL_FALLING:g} %"
    span = f"in the last {100 * budgets.LAST_SHARE:g} % of the steps"
    behind = _behind(rows, answer)
    falling = [behind[label] for label, fall in falls.items() if fall >= budgets.STILL_FALLING]
    if falling:
        return f"perhaps: {name_some(falling)} still fell by {least} or more {span}"
    if falls and all(fall < budgets.STILL_FALLING for fall in falls.values()):
        return f"one budget does not tell; no row behind the best fell by {least} {span}"
    return f"one budget, {_length(part)}, does not tell"


def _longer(part: Comparison) -> str:
    """Return the command of a longer training."""
    train = max((one["train"] for one in part.runs["config"]), key=lambda one: one["steps"])
    is_tokens = str(part.rows["length"].iloc[0]) == budgets.TOKENS
    key = "train.steps" if is_tokens else "train.budget"
    setting = f"{key}={LONGER * train['steps' if is_tokens else 'budget']:g}"
    runs = part.runs.assign(typed=[one.get("command", "") for one in part.runs["provenance"]])
    commands = [
        str(command)
        for command, own in runs.groupby("typed")
        if command and set(own["arch"]) == set(runs["arch"])
    ]
    if not commands:
        return f"to measure it: the same runs with {setting}"
    longer, count = re.subn(rf"(?<=\s)'?{re.escape(key)}=\S+", setting, commands[0])
    return f"to measure it: {longer if count else f'{commands[0]} {setting}'}"
