"""A results folder that no training made: for tests of everything that reads records. Numbers are believable and seeded."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.identity import digest, workload_id
from bench.config.schema import (
    DataConfig,
    EvaluateConfig,
    ObjectiveConfig,
    Run,
    SizeConfig,
    TrainConfig,
)
from bench.records import store
from bench.records.metrics import Metric
from bench.system.checksums import hash_files

HOSTILE = "<script>alert(1)</script>"
HORIZON = {"nats": 1.25, "rate": 20_000.0, "memory": 60e6, "growth": 0.0}
PROFILES: dict[
    str, dict[str, float]
] = {  # final nats per byte, training tokens/s, peak bytes, seconds of decoding per token of length
    "lstm": {"nats": 1.245, "rate": 31_000, "memory": 41e6, "growth": 0.0},
    "gru": {"nats": 1.251, "rate": 19_500, "memory": 44e6, "growth": 0.0},
    "convolution": {"nats": 1.322, "rate": 28_500, "memory": 52e6, "growth": 0.0},
    "decoder": {"nats": 1.298, "rate": 20_500, "memory": 66e6, "growth": 1.2e-7},
    "classic": {"nats": 1.371, "rate": 22_400, "memory": 61e6, "growth": 1.5e-7},
    "encoder": {"nats": 0.98, "rate": 21_000, "memory": 58e6, "growth": 0.0},
    "pairs": {"nats": 1.83, "rate": 160_000, "memory": 22e6, "growth": 0.0},
}
ENCODERS = ("encoder",)
ENVIRONMENT = {
    "machine": "0a1b2c3d", "processor": f"Example CPU {HOSTILE}", "cores": 2, "memory_bytes": 8_000_000_000, "accelerator": "",
    "threads": 1, "python": "3.11.7", "torch": "2.11.0", "packages": {"torch": "2.11.0", "numpy": "2.4.0"},
}  # fmt: skip
DATA_FACTS = {
    "documents": 5200,
    "bytes": 1_960_000,
    "duplicates removed": 310,
    "near duplicates removed": 220,
    "interpreter": "3.11.7",
}


def make_run(root: Path, arch: str, seed: int = 0, **changes: Any) -> Run:
    """A resolved run of a made-up architecture.

    `changes`: learning_rate, data, tokenizer, parameters, steps, family, tune.
    """
    names = {
        "arch": arch,
        "data": changes.get("data", "python_docs"),
        "size": "small",
        "objective": "auto",
    }
    return Run(
        arch={
            "_target_": f"made_up.{arch}.Model",
            "layers": 4,
            "family": changes.get("family", "family of " + arch),
            **({"tune": changes["tune"]} if "tune" in changes else {}),
        },
        data=DataConfig(
            source="python_docs",
            path=changes.get("data", ""),
            tokenizer=changes.get("tokenizer", "bytes"),
        ),
        size=SizeConfig(parameters=changes.get("parameters", 800_000), context=128),
        objective=ObjectiveConfig(),
        train=TrainConfig(
            learning_rate=changes.get("learning_rate", 4e-3), steps=changes.get("steps", 1000)
        ),
        evaluate=EvaluateConfig(prompt="The function returns"),
        names=names,
        seed=seed,
        suite=root.name,
        results=str(root.parent),
    )


def _provenance(run: Run, data_digest: str, order: str, source: str) -> dict[str, Any]:
    return {
        "digests": {
            "data": data_digest,
            "order": order,
            "source": source,
            "config": digest(run.names),
        },
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "command": f"python -m bench.run arch={run.names['arch']} seed={run.seed}",
        "rerun": f"python -m bench.run arch={run.names['arch']} seed={run.seed} again=failed data.path='{HOSTILE}'",
        "data": DATA_FACTS,
    }


def seal(folder: Path) -> None:
    """Take the files of a finished record, which a test has changed, as those that were written."""
    if result := store.read_json(folder / "result.json"):
        store.write_json(folder / "result.json", result | {"files": hash_files(folder)})


def write_curve(folder: Path, nats: float, seed: int, steps: int = 1000) -> None:
    """A falling curve with a validation value at every hundredth step."""
    noise = np.random.default_rng(seed)
    lines = []
    for step in range(20, steps + 1, 20):
        loss = nats + 2.5 * np.exp(-step / 120) + 0.25 * np.exp(-step / 600)
        line = {"step": step, "tokens": step * 1024, "nats": float(loss + noise.normal(0, 0.02))}
        lines.append(
            line
            | ({"validation_nats": float(loss + noise.normal(0, 0.004))} if step % 100 == 0 else {})
        )
    (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_documents(nats: float, seed: int, count: int = 120) -> pd.DataFrame:
    """Documents of very unequal length whose pooled nats per byte is close to `nats`; difficulty is shared by all runs."""
    shared, own = np.random.default_rng(1), np.random.default_rng(100 + seed)
    size = np.exp(shared.normal(5.5, 1.0, count)).astype(int) + 20
    hardness = shared.normal(1.0, 0.15, count)
    noise = own.normal(1.0, 0.01, count)
    return pd.DataFrame(
        {
            "document": range(count),
            "bytes": size,
            "tokens": size,
            "nats": size * nats * hardness * noise,
        }
    )


def quality(arch: str, nats: float, documents: pd.DataFrame) -> list[Metric]:
    """The metrics of a finished run."""
    shape = [
        Metric("parameters", "parameters", "neither", (795_000.0,)),
        Metric("parameters_without_embedding", "parameters", "neither", (760_000.0,)),
        Metric("parameters_in_products", "parameters", "neither", (755_000.0,)),
        Metric("width", "features", "neither", (128.0,)),
        Metric("budget_slack", "share", "lower", (0.00625 if arch != "pairs" else 0.11,)),
        Metric(
            "train_seconds", "s", "lower", (95.0,), "not comparable: runs may share the machine"
        ),
        Metric("tokens_seen", "tokens", "neither", (1_024_000.0,)),
        Metric(
            "tokens_with_loss",
            "tokens",
            "neither",
            (516_000.0 if arch in ENCODERS else 1_024_000.0,),
        ),
        Metric("flops_per_token", "FLOPs/token", "lower", (4.8e6,)),
        Metric("a_metric_from_the_future", "parsec", "higher", (12.0,)),
    ]
    if arch in ENCODERS:
        note = "2000 positions"
        return [
            *shape,
            Metric("pseudo_perplexity", "per token", "lower", (float(np.exp(nats)),), note),
            Metric("pseudo_perplexity_standard_error", "per token", "lower", (0.08,), note),
            Metric("pseudo_nats_per_token", "nats/token", "lower", (nats,), note),
        ]
    per_token = float(documents["nats"].sum() / documents["tokens"].sum())
    return [
        *shape,
        Metric(
            "bits_per_byte",
            "bits/byte",
            "lower",
            (float(documents["nats"].sum() / documents["bytes"].sum() / np.log(2)),),
        ),
        Metric("perplexity", "per token", "lower", (float(np.exp(per_token)),)),
        Metric("nats_per_token", "nats/token", "lower", (per_token,)),
        Metric("separator_nats", "nats/separator", "lower", (0.4,)),
    ]


def write_run(
    root: Path,
    arch: str,
    seed: int,
    status: str = "done",
    reason: str = "",
    documents: pd.DataFrame | None = None,
    metrics: Sequence[Metric] | None = None,
    **changes: Any,
) -> Path:
    """One record, as the harness writes it. `changes`: of make_run, and data_digest, order, source, environment, folder."""
    run = make_run(root, arch, seed, **changes)
    folder = changes.get("folder", root / "runs" / store.run_name(run))
    failed = status != "done"
    digests = (
        ("", "")
        if failed
        else (changes.get("data_digest", "d1d1d1d1"), changes.get("order", f"order-{seed}"))
    )
    provenance = _provenance(run, *digests, changes.get("source", ""))
    store.create_record(folder, run, changes.get("environment", ENVIRONMENT), provenance)
    if failed:
        if status != "unfinished":
            store.write_result(
                folder,
                status,
                reason,
                facts={"diverged": 340} if reason.startswith("diverged") else {},
            )
        return folder
    nats = PROFILES.get(arch, HORIZON)["nats"] * (
        1 + 0.002 * np.random.default_rng(seed + len(arch)).normal()
    )
    write_curve(folder, nats, seed)
    table = make_documents(nats, seed) if documents is None else documents
    if arch not in ENCODERS:
        table.to_parquet(folder / "documents.parquet")
        (folder / "text.txt").write_text(
            f"The function returns the {arch} of {HOSTILE} & a value.\n\n    >>> print(1)\n"
            + "more " * 60
        )
    kind, protocol = (
        ("masked", "pseudo(128, 2000 positions)") if arch in ENCODERS else ("causal", "chunk(128)")
    )
    found = quality(arch, nats, table) if metrics is None else metrics
    store.write_result(
        folder, "done", "", found, {"objective": kind, "protocol": protocol, "part": "test"}
    )
    return folder


def speeds(arch: str, rounds: int, seed: int, factor: float = 1.0) -> list[Metric]:
    """What a worker measures; `factor`: how much faster this machine is."""
    noise, profile = np.random.default_rng(seed), PROFILES.get(arch, HORIZON)

    def rate(name: str, value: float) -> Metric:
        samples = tuple(float(v) for v in value * factor * (1 + 0.004 * noise.normal(size=rounds)))
        return Metric(name, "tokens/s", "higher", samples, rounds=tuple(range(rounds)))

    parts = {
        "parameters": 3.2e6,
        "gradients": 3.2e6,
        "optimizer": 6.4e6,
        "activations": profile["memory"] - 14e6,
        "temporary": 1.2e6,
    }
    memory = [
        Metric(f"memory_{name}_bytes", "bytes", "lower", (size,)) for name, size in parts.items()
    ]
    common = [
        rate("train_tokens_per_second", profile["rate"]),
        Metric("peak_train_memory_bytes", "bytes", "lower", (profile["memory"],)),
        *memory,
        Metric("flops_per_token", "FLOPs/token", "lower", (4.8e6,)),
    ]
    if arch in ENCODERS:
        why = f"reads both directions, so it can not write a token at a time {HOSTILE}"
        return common + [
            Metric(n, "tokens/s", "higher", (), why)
            for n in ("prefill_tokens_per_second", "decode_tokens_per_second")
        ]
    lengths = (32, 64, 128, 256)
    growth = profile["growth"]
    decode = [
        Metric(
            "decode_seconds_per_token",
            "s",
            "lower",
            (30 / profile["rate"] + growth * n,) * 3,
            at={"length": n},
        )
        for n in lengths
    ]
    state = Metric("state_bytes", "bytes", "lower", (2048.0 if growth == 0 else 524_288.0,))
    return [
        *common, *decode, state, rate("prefill_tokens_per_second", 3 * profile["rate"]),
        rate("decode_tokens_per_second", profile["rate"] / 30),
    ]  # fmt: skip


def write_references(root: Path, ngram: float = 2.05, digest: str = "d1d1d1d1") -> Path:
    """The reference lines of the synthetic text, as the command writes them. `ngram`: its bits per byte."""
    reached = {
        "uniform": ("none", 8.006),
        "unigram": ("none", 4.8),
        "7-gram": ("windows", ngram),
        "7-gram, unlimited": ("unlimited", ngram - 0.02),
    }
    lines = []
    for name, (context, bits) in reached.items():
        nats = bits * float(np.log(2))
        metrics = [
            Metric("bits_per_byte", "bits/byte", "lower", (bits,)),
            Metric("perplexity", "per token", "lower", (float(np.exp(nats)),)),
            Metric("validation_nats", "nats/token", "lower", (nats,)),
        ]
        lines.append(
            {
                "name": name,
                "context": context,
                "note": f"{name} {HOSTILE}",
                "metrics": [m.as_json() for m in metrics],
            }
        )
    packed = [Metric("bits_per_byte", "bits/byte", "lower", (2.4,)).as_json()]
    lines.append(
        {"name": "lzma", "context": "unlimited", "note": "a compressor", "metrics": packed}
    )
    about = {
        "schema": 1,
        "data_digest": digest,
        "part": "test",
        "context": 128,
        "reason": "",
        "lines": lines,
    }
    path = root / "references" / f"{digest}-128.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_json(path, about)
    return path


LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
DEEP: dict[
    str, dict[str, float]
] = {  # growth: of training seconds a token, by its token of context; longest: supported length
    "lstm": {"growth": 0.0, "flops": 4.4e6, "unchecked": 0.0, "operators": 310, "gain": 0.62},
    "gru": {"growth": 0.0, "flops": 4.5e6, "unchecked": 0.0, "operators": 330, "gain": 0.55},
    "convolution": {
        "growth": 1e-10,
        "flops": 4.9e6,
        "unchecked": 0.4e6,
        "operators": 240,
        "gain": 0.04,
    },
    "decoder": {"growth": 2.5e-8, "flops": 4.8e6, "unchecked": 0.0, "operators": 420, "gain": 0.12},
    "classic": {
        "growth": 3e-8,
        "flops": 4.7e6,
        "unchecked": 0.0,
        "operators": 380,
        "gain": 0.18,
        "longest": 1024,
    },
    "encoder": {"growth": 2.7e-8, "flops": 4.8e6, "unchecked": 0.0, "operators": 360, "gain": 0.01},
    "pairs": {"growth": 0.0, "flops": 0.2e6, "unchecked": 0.0, "operators": 90, "gain": 1.4},
}
DOCTOR = {
    "schema": 1,
    "findings": [
        {"name": "seconds", "expected": 0.05, "came": 0.0501, "unit": "s", "off": False, "sentence": "seconds are right"},
        {"name": "bytes", "expected": 4e6, "came": 4e6, "unit": "bytes", "off": False, "sentence": "bytes are right"},
    ],
    "sentences": ["A large matrix product reaches 1.1 TFLOP/s here.", f"One other process is busy. {HOSTILE}"],
}  # fmt: skip


def deep(arch: str, rounds: int = 60, few: int = 7, seed: int = 0, shared: int = 5) -> list[Metric]:
    """Everything that a full measurement holds. `shared`: seeds what disturbs all architectures of a round alike."""
    about, profile = DEEP[arch], PROFILES[arch]
    own, weather = (
        np.random.default_rng([seed, len(arch), ord(arch[0])]),
        np.random.default_rng(shared),
    )
    drift = {count: 1 + 0.05 * weather.normal(size=count) for count in dict.fromkeys((rounds, few))}

    def samples(
        name: str, value: float, unit: str, better: Any, at: Any = None, count: int = rounds
    ) -> Metric:
        way = -1 if better == "lower" else 1
        values = value * drift[count] ** way * (1 + 0.004 * own.normal(size=count))
        return Metric(
            name, unit, better, tuple(map(float, values)), at=at or {}, rounds=tuple(range(count))
        )

    def one(name: str, unit: str, value: float, note: str = "") -> Metric:
        return Metric(name, unit, "lower", (value,), note)

    def refused(name: str, unit: str, why: str, at: Any = None) -> Metric:
        return Metric(name, unit, "lower", (), why, at=at or {})

    causal, rate = arch not in ENCODERS, profile["rate"]
    alone = f"reads both directions, so it can not write a token at a time {HOSTILE}"
    found = [
        metric
        for metric in speeds(arch, rounds, seed)
        if "per_second" not in metric.name and not metric.at
    ]
    for stem, speed in (("train", rate), ("prefill", 3 * rate), ("decode", rate / 30)):
        for clock, unit in (("second", "tokens/s"), ("cpu_second", "tokens/CPU s")):
            name = f"{stem}_tokens_per_{clock}"
            found.append(
                samples(name, speed, unit, "higher")
                if causal or stem == "train"
                else refused(name, unit, alone)
            )
    found.append(
        samples(
            "train_tokens_per_second",
            rate * (1 + about["gain"]),
            "tokens/s",
            "higher",
            {"batch": 32},
            few,
        )
    )
    for length in LENGTHS:
        at = {"length": length}
        if length > about.get("longest", 1e9):
            why = "learned positions for 1,024 tokens: there is none for a longer context"
            found += [refused("train_tokens_per_second", "tokens/s", why, at)]
            found += [refused("decode_seconds_per_token", "s/token", why, at)] if causal else []
            continue
        once = 1 / rate + about["growth"] * (length - 128)
        found.append(samples("train_tokens_per_second", 1 / once, "tokens/s", "higher", at, few))
        if causal:
            further = 30 / rate + profile["growth"] * length
            found.append(samples("first_token_seconds", length * once / 3, "s", "lower", at, few))
            found.append(samples("decode_seconds_per_token", further, "s/token", "lower", at, few))
        else:
            found.append(refused("decode_seconds_per_token", "s/token", alone, at))
    if causal:
        found.append(samples("first_token_seconds", 128 / rate / 3, "s", "lower", count=few))
        for batch in (8, 32, 128):
            found.append(
                samples(
                    "decode_tokens_per_second",
                    rate / 30 * batch**0.8,
                    "tokens/s",
                    "higher",
                    {"batch": batch},
                    few,
                )
            )
            found.append(
                samples(
                    "first_token_seconds",
                    batch**0.9 * 128 / rate / 3,
                    "s",
                    "lower",
                    {"batch": batch},
                    few,
                )
            )
        found.append(one("state_bytes_per_token", "bytes", 4096.0 if profile["growth"] else 0.0))
    parts = {"forward": 0.31, "backward": 0.55, "optimizer": 0.14}
    found += [
        samples(f"{part}_seconds", share * 1024 / rate, "s/step", "lower", count=few)
        for part, share in parts.items()
    ]
    return [
        *found,
        one("first_step_seconds", "s", 0.8),
        one("product_flops_per_second", "FLOP/s", 1.1e12 if arch != "pairs" else float("nan")),
        one("copy_bytes_per_second", "bytes/s", 9e9),
        one("unchecked_flops_per_token", "FLOPs/token", about["unchecked"]),
        one("traffic_bytes_per_token", "bytes/token", 150_000.0),
        one("operators_per_step", "calls", about["operators"]),
        one("activation_bytes_per_token", "bytes/token", profile["memory"] / 3000),
        one("memory_allocator_peak_bytes", "bytes", 1.1 * profile["memory"]),
        one("memory_process_rise_bytes", "bytes", 1.6 * profile["memory"]),
        one("largest_batch", "sequences", 512.0),
        refused(
            "train_joules_per_token",
            "J/token",
            "not available: this system has no counter of energy that can be read",
        ),
    ]


def write_measure(
    root: Path,
    arch: str,
    twin: bool = False,
    reason: str = "",
    factor: float = 1.0,
    metrics: Sequence[Metric] | None = None,
    **changes: Any,
) -> Path:
    """One measurement, as the measuring stage writes it; failed where there is a reason.

    `changes`: machine, sitting, rounds, starts, stopped.
    """
    name, machine = workload_id(make_run(root, arch, **changes)), changes.get("machine", "0a1b2c3d")
    sitting = f"{machine}-{changes.get('sitting', '20260101T101010')}"
    folder = root / "measure" / sitting / (f"{arch}-{name}" + ("-again" if twin else ""))
    folder.mkdir(parents=True)
    before, after = (
        {"load": [0.4, 0.5, 0.6], "clocks_megahertz": [2250.0, 2350.0]},
        {"load": [1.1, 0.8, 0.7]},
    )
    around = {
        "before": before,
        "after": after | {"temperature_celsius": "not available: no sensor"},
    }
    around |= {"process_starts": changes.get("starts", [])} | (
        {"stopped": True} if changes.get("stopped") else {}
    )
    about = {
        "machine": machine, "subject": name, "arch": arch, "twin": twin, "environment": {**ENVIRONMENT, "machine": machine},
        "surroundings": around,
        "options": changes.get("options", {}), "facts": {"device": "cpu", "precision": "float32"},
    }  # fmt: skip
    store.write_json(folder / "subject.json", about)
    found = (
        speeds(arch, changes.get("rounds", 40), len(arch) + 7 * twin, factor)
        if metrics is None
        else metrics
    )
    store.write_result(folder, "failed" if reason else "done", reason, () if reason else found)
    return folder


def write(
    root: Path, seeds: int = 3, archs: Sequence[str] = tuple(PROFILES), machines: int = 2
) -> Path:
    """A whole suite: finished runs, one failed, one skipped, one unfinished, measurements with an A/A twin."""
    for arch in archs:
        for seed in range(seeds):
            write_run(root, arch, seed, source="another" if arch == archs[-1] else "")
    write_run(root, archs[0], seeds, "failed", f"diverged at step 340 {HOSTILE}")
    write_run(root, "broken", 0, "failed", "no width fits into 800,000 parameters")
    write_run(root, "refused", 0, "skipped", "an encoder can not be trained as a causal model")
    write_run(root, archs[1], seeds, "unfinished")
    for number in range(machines):
        for arch in archs if not number else archs[:3]:
            write_measure(root, arch, machine=f"{number}a1b2c3d", factor=1 + number)
    write_measure(root, archs[3 % len(archs)], twin=True)
    write_measure(root, "broken", reason="the worker gave no answer for 120 s")
    return root


def write_deep(
    root: Path,
    archs: Sequence[str] = tuple(PROFILES),
    twin: str = "lstm",
    machine: str = "0a1b2c3d",
) -> Path:
    """A sitting of full depth with its twin and its doctor; of archs alone, without any run."""
    options = {"depth": "full", "memory_limit": 2_000_000_000}
    for arch in archs:
        write_measure(root, arch, metrics=deep(arch), machine=machine, options=options)
    again = write_measure(
        root, twin, twin=True, metrics=deep(twin, seed=1), machine=machine, options=options
    )
    store.write_json(again.parent / "doctor.json", DOCTOR)
    return root


DISTANCES = [[0, 0], [1, 1], [2, 3], [4, 7]]  # bins of a context of 8 tokens


def write_saliency(
    folder: Path, shares: Sequence[Sequence[float]], reason: str = "", heads: int = 0
) -> None:
    """What a run's predictions look at. `shares`: per prediction, in each of DISTANCES."""
    weights = [0.5, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]
    attention = [{"layer": 0, "head": n, "weights": weights} for n in range(heads)]
    passage = {
        "offset": 96, "pieces": ["<script>", *"bcdefg", "é"], "shares": weights, "target": "<b>",
        "probability": 0.25, "prediction": "q", "attention": attention,
    }  # fmt: skip
    content = {
        "schema": 1, "reason": reason, "part": "test", "context": 8, "distances": DISTANCES,
        "shares": shares, "passages": [passage] if shares else [], "seconds": 0.1,
    }  # fmt: skip
    store.write_json(folder / "saliency.json", content)
