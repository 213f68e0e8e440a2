"""Split documents into parts by their texts alone: neither file order nor chance decides."""

import numpy as np

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data.dedup import drop_exact_duplicates, drop_near_duplicates
from bench.data.document_store import Documents, DocumentStore, iterate_spans

SpansByPart = dict[str, np.ndarray]  # part -> (N, 2) int64: begins and ends in the store, bytes
PARTS = ("train", "validation", "test")
MIN_STRATUM = 30  # documents that a class of size needs to be split on its own


def size_strata(documents: Documents) -> list[np.ndarray]:
    """Return positions of documents by class of size (a factor of two), each sorted by digest.

    A class of fewer than MIN_STRATUM documents joins the next smaller one.
    """
    exponents = np.frexp(documents.sizes.astype(np.float64))[1]
    strata: list[np.ndarray] = []
    pending = np.empty(0, np.int64)
    for exponent in np.unique(exponents)[::-1]:
        pending = np.concatenate([pending, np.flatnonzero(exponents == exponent)])
        if len(pending) >= MIN_STRATUM:
            strata.append(pending)
            pending = pending[:0]
    if len(pending):
        strata[-1:] = [np.concatenate([*strata[-1:], pending])]
    return [places[np.argsort(documents.digests[places], kind="stable")] for places in strata]


def split_by_documents(documents: Documents) -> SpansByPart:
    """Split every class of size 80/10/10 by digest: one document more moves at most two others."""
    if len(documents) < 3:
        raise UserError(
            f"data.split=documents needs 3 different documents, and there are {len(documents)}: "
            "use data.split=tail",
            "too-little-text",
        )
    parts = {part: list[np.ndarray]() for part in PARTS}
    for stratum in size_strata(documents):
        held_out = max(1, round(len(stratum) / 10))
        test, validation, train = np.split(stratum, [held_out, 2 * held_out])
        for part, places in zip(PARTS, (train, validation, test), strict=True):
            parts[part].append(places)
    return {
        part: documents.take(np.concatenate(places)).sort_by_digest().spans
        for part, places in parts.items()
    }


def _character_ends(spans: np.ndarray, store: DocumentStore) -> np.ndarray:
    """Return the number of characters up to the end of each document, (N,) int64."""
    counts = (store.characters(*span) for span in iterate_spans(spans))
    return np.cumsum(np.fromiter(counts, np.int64, len(spans)))


def split_tail(documents: Documents, store: DocumentStore, path: str) -> SpansByPart:
    """Train on the first int(0.9 · characters); the document on the border is cut in two."""
    spans = documents.spans
    ends = _character_ends(spans, store)
    total = int(ends[-1])
    training = int(0.9 * total)
    if training < 2 or total - training < 2:
        raise UserError(
            f"data.path={path} has {total} characters, too short to split at 90 %: give a longer "
            "text",
            "too-little-text",
        )
    index = int(np.searchsorted(ends, training, side="right"))  # of the document on the border
    begin, end = spans[index].tolist()
    border = store.offset(begin, end, training - int(ends[index - 1] if index else 0))
    before = [[begin, border]] if border > begin else np.empty((0, 2), np.int64)
    train = np.concatenate([spans[:index], before])
    return {"train": train, "validation": np.concatenate([[[border, end]], spans[index + 1 :]])}


def given_parts(documents: Documents) -> SpansByPart:
    """Return the parts that the source came in; raise UserError without training or validation."""
    if others := [name for name in documents.names if name not in PARTS]:
        raise UserError(
            f"data.parts names {others[0]!r}, which is not a part; known: {', '.join(PARTS)}",
            "unknown-choice",
        )
    parts = {name: documents.spans[in_part(documents, name)] for name in PARTS}
    for name in ("train", "validation"):
        if not len(parts[name]):
            raise UserError(
                f"data.split=given has no {name} part: name it in data.parts, or use "
                "data.split=documents or tail"
            )
    return {name: spans for name, spans in parts.items() if len(spans)}


def in_part(documents: Documents, name: str) -> np.ndarray:
    """Return which documents came in a part, (N,) bool."""
    return documents.parts == (documents.names.index(name) if name in documents.names else -1)


def resolve_split(options: DataConfig, single: bool) -> str:
    """Return documents, tail or given; raise UserError where options exclude each other."""
    if options.split == "auto":
        return "tail" if single else "documents"
    problem = ""
    if options.split == "given" and options.source not in ("hub", "examples"):
        problem = "data.split=given needs a set that comes in parts, not "
        problem += f"data.source={options.source}"
    elif options.split == "given" and options.deduplicate == "near":
        problem = "data.deduplicate=near excludes data.split=given, which keeps the set as it is"
    if problem:
        raise UserError(f"{problem}: use documents, tail", "conflicting-values")
    return options.split


def split_documents(
    options: DataConfig, documents: Documents, store: DocumentStore, split: str
) -> tuple[SpansByPart, dict[str, int]]:
    """Return the spans of each part after deduplication, and how many duplicates there were."""
    path = options.path or options.repository
    if not len(documents):
        raise UserError(
            f"data.path={path} holds nothing but white space: there is nothing to learn from",
            "too-little-text",
        )
    if split == "given":
        training = in_part(documents, "train")
        shared = int(np.isin(documents.digests[~training], documents.digests[training]).sum())
        facts = {"duplicates_exact": 0, "duplicates_near": 0, "held_out_seen_in_training": shared}
        return given_parts(documents), facts
    distinct = drop_exact_duplicates(documents)
    kept = drop_near_duplicates(distinct, store) if options.deduplicate == "near" else distinct
    facts = {
        "duplicates_exact": len(documents) - len(distinct),
        "duplicates_near": len(distinct) - len(kept),
    }
    return (split_tail(kept, store, path) if split == "tail" else split_by_documents(kept)), facts
