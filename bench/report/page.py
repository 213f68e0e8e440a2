"""Everything into one file: the template, its style and script, the figures and the tables."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from bench.record import Records
from bench.report import cells, figures, headline
from bench.report.comparisons import KEY, Comparison, why_apart
from bench.report.figures import Drawn, drawn
from bench.report.speeds import Sitting
from bench.report.tables import Tables
from bench.report.wording import count, large, size

HERE = Path(__file__).parent
PALETTE_SIZE = 10


def render(name: str, records: Records, tables: Tables, sittings: list[Sitting], parts: list[Comparison], source: str) -> str:
    """The page as text. `source`: today's digest of the sources, to mark what is stale."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    stale = stale_rows(tables, source)
    return environment.get_template("page.html").render(
        name=name,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        palette=PALETTE_SIZE,
        apart=why_apart([part.rows for part in parts], KEY),
        comparisons=[_comparison(part, records, tables, sittings, stale) for part in parts],
        sittings=[_sitting(sitting, parts, stale) for sitting in sittings],
        machines=len({sitting.machine for sitting in sittings}),
        failures=_failures(tables.runs, records.measures),
        environments=_distinct(tables.runs["environment"]),
        commits=_commits(tables.runs["provenance"]),
        stale=len(stale),
        unfinished=int((tables.runs["status"] != "done").sum()),
    )


def stale_rows(tables: Tables, source: str) -> frozenset[int]:
    """Rows with a finished run that was made by other sources than today's."""
    runs = tables.runs[tables.runs["status"] == "done"]
    said = [(p.get("digests") or {}).get("source", "") for p in runs["provenance"]]
    return frozenset(int(row) for row, digest in zip(runs["row"], said, strict=True) if source and digest and digest != source)


def _comparison(part: Comparison, records: Records, tables: Tables, sittings: list[Sitting], stale: frozenset[int]) -> dict[str, Any]:
    machines = {sitting.machine for sitting in sittings}
    measured = [sitting for sitting in sittings if sitting.medians.index.isin(part.rows["subject"]).any()]
    one = measured[0] if len(machines) == 1 and len(measured) == 1 else None
    return {
        "name": part.name,
        "title": f"{', '.join(sorted(set(part.rows['data'])))}, at most {part.rows['budget'].iloc[0]:,} parameters",
        "sentences": headline.sentences(part, tables, sittings),
        "facts": _facts(part),
        "apart": why_apart(list(part.likelihoods), ["protocol", "part"]),
        "likelihoods": [cells.likelihoods(f"{part.name}-quality-{n}", rows, one, stale) for n, rows in enumerate(part.likelihoods)],
        "pseudo": [cells.encoders(f"{part.name}-pseudo-{n}", rows, stale) for n, rows in enumerate(part.pseudo)],
        "orders": part.orders.to_dict("records"),
        "equal_order": part.equal_order,
        "figures": _figures(part, records, measured),
        "texts": _texts(part),
    }


def _figures(part: Comparison, records: Records, sittings: list[Sitting]) -> list[Drawn]:
    """All figures of a comparison; those of speed once for each sitting."""
    made: list[Drawn] = []
    several = len(sittings) > 1
    nothing = "No speed or memory was measured for these rows."
    for number, (objective, tokenizer) in enumerate(sorted(set(zip(part.rows["objective"], part.rows["tokenizer"], strict=True)))):
        table = figures.curve_table(part, records.curves, objective, tokenizer)
        about = "" if objective == "causal" else f" ({objective}: an axis of its own)"
        band = "Mean over seeds, with the range over seeds behind it. The steep beginning is above the frame."
        name = f"{part.name}-loss-{number}"
        made.append(drawn(f"{name}-tokens", f"Held-out loss against tokens{about}", band, lambda t=table: figures.curves(t)))  # type: ignore[misc]
        for n, sitting in enumerate(sittings):
            rate = sitting.medians.get("train_tokens_per_second", pd.Series(dtype=float))
            where = f" Machine {sitting.machine}, {sitting.name}." if several else ""
            text = "Seconds are tokens divided by the rate measured in its own stage, not the clock of the training run." + where
            title = f"Held-out loss against seconds{about}"
            made.append(drawn(f"{name}-seconds-{n}", title, text, lambda t=table, r=rate: figures.curves(t, r)))  # type: ignore[misc]
    for n, sitting in enumerate(sittings):
        made += _measured_figures(part, sitting, f"{part.name}-sitting-{n}", f" Machine {sitting.machine}, {sitting.name}." if several else "")
    if not sittings:
        made += [Drawn("", title, "", reason=nothing) for title in ("Quality against speed", "Quality against memory", "Decoding", "Memory")]
    return made


COSTS = (
    ("train_tokens_per_second", "Quality against training speed", "training tokens per second (more is better)", True, ""),
    ("decode_tokens_per_second", "Quality against decoding speed", "decoded tokens per second (more is better)", True, ""),
    ("peak_train_memory_bytes", "Quality against memory", "peak memory of a training step (less is better)", False, "B"),
    ("state_bytes", "Quality against state", "bytes of state at the full context (less is better)", False, "B"),
)


def _measured_figures(part: Comparison, sitting: Sitting, name: str, where: str) -> list[Drawn]:
    made: list[Drawn] = []
    for number, rows in enumerate(part.likelihoods):
        for metric, title, label, more, unit in COSTS:
            cost = sitting.medians.get(metric, pd.Series(dtype=float))
            text = "Dashed: the rows that no other beats in both. Bars: 95 % intervals." + where
            make = lambda r=rows, c=cost, lab=label, m=more, u=unit: figures.tradeoff(r, c, lab, m, u)  # noqa: E731
            made.append(drawn(f"{name}-{metric}-{number}", title, text, make))
    decode = "One sequence at a time, from a state that already holds that many tokens." + where
    made.append(drawn(f"{name}-decode", "Time to decode a token", decode, lambda: figures.decoding(part.rows, sitting)))
    bars = "Live tensor storage at the peak of one training step, by what it holds." + where
    made.append(drawn(f"{name}-memory", "Memory of a training step", bars, lambda: figures.memory(part.rows, sitting)))
    return made


def _sitting(sitting: Sitting, parts: list[Comparison], stale: frozenset[int]) -> dict[str, Any]:
    tables = [cells.speeds(f"{part.name}-{sitting.name}", sitting, part.rows, stale) for part in parts]
    return {
        "name": sitting.name, "machine": sitting.machine, "environment": _lines(sitting.environment),
        "tables": [table for table in tables if table.rows], "twins": cells.twin_line(sitting),
    }  # fmt: skip


def _facts(part: Comparison) -> list[tuple[str, str]]:
    """What was compared and on what, as pairs of a name and a value."""
    rows, config = part.rows, part.runs["config"].iloc[0]
    about = next((p["data"] for p in part.runs["provenance"] if isinstance(p.get("data"), Mapping)), {})
    recipes = sorted({f"{c['train']['steps']:,} steps of {c['train']['batch']} × {c['size']['context']} tokens" for c in part.runs["config"]})
    rates = part.runs.assign(rate=[c["train"].get("learning_rate") for c in part.runs["config"]])["rate"].dropna()
    pairs = [
        ("data", " · ".join(sorted(set(rows["data"])))),
        ("tokenizer", " · ".join(sorted(set(rows["tokenizer"])))),
        ("digest of the text", " · ".join(sorted(set(rows["text_digest"])))),
        ("digest of the tokens", " · ".join(sorted(set(rows["data_digest"])))),
        ("budget", f"{rows['budget'].iloc[0]:,} parameters, embeddings included; width is solved for each architecture"),
        ("context", f"{rows['context'].iloc[0]} tokens"),
        ("training", " · ".join(recipes)),
        ("learning rate", f"{rates.min():g} to {rates.max():g}, the same recipe otherwise" if len(rates) else "as each architecture's YAML says"),
        ("precision", str(config["train"].get("precision", ""))),
    ]
    return [pair for pair in pairs if pair[1]] + [(str(key), _plain(value, str(key))) for key, value in about.items()]


def _plain(value: Any, key: str) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return size(value) if key.endswith("bytes") and value >= 1000 else count(value) if float(value).is_integer() else f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(one, str(name))}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one, key) for one in value)
    return str(value)


def _lines(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(key).replace("_", " "), _plain(value, str(key))) for key, value in environment.items() if value not in ("", None, {}, [])]


def _distinct(environments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in environments:
        if one:
            entry = found.setdefault(repr(sorted(one.items(), key=str)), {"runs": 0, "lines": _lines(one)})
            entry["runs"] += 1
    return list(found.values())


def _commits(provenances: Iterable[Mapping[str, Any]]) -> list[str]:
    gits = [p.get("git") or {} for p in provenances]
    return sorted({f"{g.get('commit', '')[:12]}{' with uncommitted changes' if g.get('dirty') else ''}" for g in gits if g.get("commit")})


def _texts(part: Comparison) -> list[dict[str, Any]]:
    """The text of the lowest finished seed of each row that wrote one."""
    written = part.runs[part.runs["text"] != ""].sort_values("seed").drop_duplicates("row").set_index("row")
    found = []
    written = written.drop(columns="label").join(part.rows[["label", "colour"]])
    for row in written.sort_values("label").itertuples():
        prompt = str(row.config.get("evaluate", {}).get("prompt", ""))
        start = prompt if prompt and row.text.startswith(prompt) else ""
        found.append({"label": row.label, "colour": row.colour % PALETTE_SIZE, "seed": row.seed, "prompt": start, "text": row.text[len(start) :]})
    return found


def _failures(runs: pd.DataFrame, measures: pd.DataFrame) -> list[dict[str, str]]:
    """Every run and measurement that has no numbers, with its reason and the command that tries again."""
    wrong = runs[runs["status"] != "done"].sort_values(["status", "arch", "seed"])
    found = [
        {"name": r.run, "status": r.status, "reason": r.reason or "no reason was recorded", "rerun": r.rerun or r.provenance.get("command", "")}
        for r in wrong.itertuples()
    ]
    dead = measures[measures["status"] != "done"].drop_duplicates(["sitting", "subject", "twin"])
    return found + [
        {"name": f"measurement of {r.arch} on machine {r.machine}", "status": r.status, "reason": r.reason, "rerun": ""} for r in dead.itertuples()
    ]


__all__ = ["large", "render", "stale_rows"]
