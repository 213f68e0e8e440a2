"""A card for each architecture, by family: what it is, how its cost and its state grow with length, and what its check found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.identity import architecture
from bench.report import families
from bench.report.comparisons import Comparison
from bench.report.groups import Group
from bench.report.rows import each
from bench.report.speeds import flat
from bench.report.wording import large, listed, number, plural, seconds, size

ASK = "python -m bench.check arch={} --keep"
GROWTH: tuple[tuple[str, Sequence[str], Callable[[float], str]], ...] = (  # title, metrics to add up, how one is read
    ("forward, by formula", ("flops_per_token", "unchecked_flops_per_token"), lambda value: f"{large(value)}FLOP a token"),
    ("training, measured", ("train_tokens_per_second",), lambda value: f"{seconds(1 / value)} a token"),
    ("a further token, measured", ("decode_seconds_per_token",), seconds),
    ("state", ("state_bytes",), size),
)


@dataclass(frozen=True)
class Card:
    """One architecture on the page."""

    name: str
    family: str
    colour: int
    summary: str
    paper: str
    lines: list[tuple[str, str]]


def by_family(
    parts: Sequence[Comparison], groups: Sequence[Group], checks: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, list[Card]]]:
    """Every architecture of the page under its family's title, families in their order."""
    cards: dict[str, Card] = {}
    for part in parts:
        configs = part.runs.drop_duplicates("row").set_index("row")["config"]
        for row in each(part.rows[~part.rows["control"].astype(bool)]):
            if row.arch not in cards:
                where = next((group for group in groups if row.subject in group.names.index), None)
                cards[row.arch] = _card(row.arch, configs[row.Index]["arch"], row, where, row.subject, checks, trained=True)
    for group in groups:
        for row in each(group.names):
            if row.arch not in cards:
                arch = group.sitting.described.get(str(row.Index), {})
                cards[row.arch] = _card(row.arch, arch, row, group, str(row.Index), checks, trained=False)
    ordered = sorted(cards.values(), key=lambda card: (families.place(card.family), card.family, card.colour))
    found: dict[str, list[Card]] = {}
    for card in ordered:
        found.setdefault(families.title(card.family), []).append(card)
    return list(found.items())


def _card(
    name: str, arch: Mapping[str, Any], row: Any, group: Group | None, subject: str, checks: Mapping[str, Any], trained: bool
) -> Card:
    about = arch.get("card") or {}
    lines = [] if group is None else _lines(group, subject)
    contract = _contract(name, checks.get(architecture(arch)), trained)
    return Card(
        name=name,
        family=str(arch.get("family", "")),
        colour=int(row.colour),
        summary=" ".join(str(about.get("summary", "")).split()),
        paper=str(about.get("paper") or ""),
        lines=[*lines, ("contract", contract)],
    )


def _lines(group: Group, subject: str) -> list[tuple[str, str]]:
    said = [(title, _growth(group, subject, metrics, read)) for title, metrics, read in GROWTH]
    return [line for line in said if line[1]]


def _growth(group: Group, subject: str, metrics: Sequence[str], read: Callable[[float], str]) -> str:
    """What it is at the shortest and at the longest context that it was taken at, and how much more that is."""
    sitting, main = group.sitting, metrics[0]
    known = [place for place in sitting.places(main, "length") if (subject, (main, "length", place)) in sitting.points]
    if not known:
        return f"none: {sitting.gaps[subject, flat(main)]}" if sitting.gaps.get((subject, flat(main))) else ""

    def total(place: float) -> float:
        found = [sitting.points.get((subject, (metric, "length", place))) for metric in metrics]
        return sum(one.value for one in found if one is not None)

    first, last = known[0], known[-1]
    if len(known) == 1 or total(first) <= 0:
        return f"{read(total(first))} at {first:,g} tokens"
    if total(first) == total(last):
        return f"{read(total(first))} at every length from {first:,g} to {last:,g}"
    more = total(last) / total(first)
    more = 1 / more if main.endswith("per_second") else more
    return f"{read(total(first))} at {first:,g} tokens, {read(total(last))} at {last:,g}: ×{number(more)}"


def _contract(name: str, found: Mapping[str, Any] | None, trained: bool) -> str:
    """What the kept check says, or what was checked without it."""
    if found is None:
        before = "Shape, precision and causality were checked before training, the rest was not: " if trained else "Not checked: "
        return before + ASK.format(name)
    told: dict[str, list[str]] = {}
    for one in found["findings"]:
        told.setdefault(str(one.get("status")), []).append(str(one.get("name")))
    broken, kept = told.get("broken", []), len(told.get("holds", []))
    aside = f"; not asked: {listed(told['not asked'])}" if told.get("not asked") else ""
    said = f"broken: {listed(broken)}; {kept} hold" if broken else f"all {plural(kept, 'promise')} hold"
    stale = f". Sources changed since: {ASK.format(name)}" if found.get("stale") else ""
    return f"{said}{aside}{stale}"


def legend(part: Comparison) -> list[tuple[str, list[tuple[str, int]]]]:
    """The rows of a comparison under their families: label and colour."""
    rows = part.rows[~part.rows["control"].astype(bool)]
    ordered = sorted(each(rows), key=lambda row: (families.place(row.family), row.family, row.colour))
    found: dict[str, list[tuple[str, int]]] = {}
    for row in ordered:
        found.setdefault(families.title(row.family), []).append((row.short, int(row.colour)))
    return list(found.items())
