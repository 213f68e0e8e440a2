"""Which documents stay, and which part each belongs to. Depends on the texts alone: neither on order nor on chance."""

import numpy as np

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data.dedup import drop_exact_duplicates, drop_near_duplicates
from bench.data.document_store import Documents, DocumentStore, iterate_spans

SpansByPart = dict[str, np.ndarray]  # part -> (N, 2) int64: begins and ends in the spool, bytes
MIN_STRATUM = 30  # documents that a class of size needs to be split on its own


def size_strata(documents: Documents) -> list[np.ndarray]:
    """Places of the documents in classes of size, a factor of two each; small classes join the one below.

    Within a class the texts' digests order.
    """
    widths = np.frexp(documents.sizes.astype(np.float64))[1]  # binary digits of the size
    merged: list[np.ndarray] = []
    waiting = np.empty(0, np.int64)
    for width in np.unique(widths)[::-1]:
        waiting = np.concatenate([waiting, np.flatnonzero(widths == width)])
        if len(waiting) >= MIN_STRATUM:
            merged.append(waiting)
            waiting = waiting[:0]
    if len(waiting):
        merged[-1:] = [np.concatenate([*merged[-1:], waiting])]
    return [places[np.argsort(documents.digests[places], kind="stable")] for places in merged]


def split_by_documents(documents: Documents) -> SpansByPart:
    """80/10/10 of each class of size, by the digests of the texts: one document more moves at most two others."""
    if len(documents) < 3:
        raise UserError(
            f"data.split=documents needs 3 different documents, and there are {len(documents)}: use data.split=tail"
        )
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for stratum in size_strata(documents):
        held = max(1, round(len(stratum) / 10))
        parts["test"].append(stratum[:held])
        parts["validation"].append(stratum[held : 2 * held])
        parts["train"].append(stratum[2 * held :])
    return {
        part: documents.take(np.concatenate(chosen)).by_digest().spans
        for part, chosen in parts.items()
    }


def split_tail(documents: Documents, spool: DocumentStore, place: str) -> SpansByPart:
    """The first int(0.9 · characters) are for training, the rest for validation; the document on the border is cut in two."""
    spans = documents.spans
    behind = np.cumsum(
        np.fromiter(
            (spool.characters(*span) for span in iterate_spans(spans)), np.int64, len(spans)
        )
    )
    total = int(behind[-1])
    left = int(0.9 * total)
    if left < 2 or total - left < 2:
        raise UserError(
            f"data.path={place} has {total} characters, too short to split at 90 %: give a longer text"
        )
    at = int(np.searchsorted(behind, left, side="right"))  # the document that holds the border
    begin, end = spans[at].tolist()
    border = spool.offset(begin, end, left - int(behind[at - 1] if at else 0))
    cut = np.array([[begin, border], [border, end]])
    return {
        "train": np.concatenate([spans[:at], cut[:1] if border > begin else cut[:0]]),
        "validation": np.concatenate([cut[1:], spans[at + 1 :]]),
    }


def given_parts(documents: Documents) -> SpansByPart:
    """The parts that the source came in. Raises UserError without a training and a validation part."""
    known = ("train", "validation", "test")
    for name in documents.names:
        if name not in known:
            raise UserError(
                f"data.parts names {name!r}, which is no part; known: {', '.join(known)}"
            )
    parts = {name: documents.spans[in_part(documents, name)] for name in known}
    for name in ("train", "validation"):
        if not len(parts[name]):
            raise UserError(
                f"data.split=given has no {name} part: name it in data.parts, or use data.split=documents or tail"
            )
    return {name: spans for name, spans in parts.items() if len(spans)}


def in_part(documents: Documents, name: str) -> np.ndarray:
    """(N,) bool: the documents that came in a part."""
    return documents.parts == (documents.names.index(name) if name in documents.names else -1)


def resolve_split(options: DataConfig, single: bool) -> str:
    """documents, tail or given. Raises UserError where the words do not go together."""
    split = options.split if options.split != "auto" else ("tail" if single else "documents")
    if split == "given" and options.source != "hub":
        raise UserError(
            f"data.split=given needs a set that comes in parts, not data.source={options.source}: use documents, tail"
        )
    if split == "given" and options.deduplicate == "near":
        raise UserError(
            "data.deduplicate=near does not go with data.split=given, which keeps the set as it is: use documents, tail"
        )
    return split


def split_documents(
    options: DataConfig, documents: Documents, blank: int, spool: DocumentStore, single: bool
) -> tuple[SpansByPart, dict[str, object]]:
    """Parts as stretches of the spool, and the facts of what was left out; `blank` empty documents were before."""
    split = resolve_split(options, single)
    place = options.path or options.repository
    if not len(documents):
        raise UserError(
            f"data.path={place} holds nothing but white space: there is nothing to learn from"
        )
    facts: dict[str, object] = {
        "split": split,
        "documents_found": len(documents),
        "documents_empty": blank,
    }
    if split == "given":
        training = in_part(documents, "train")
        shared = int(np.isin(documents.digests[~training], documents.digests[training]).sum())
        return given_parts(documents), facts | {
            "duplicates_exact": 0,
            "duplicates_near": 0,
            "held_out_seen_in_training": shared,
        }
    kept = drop_exact_duplicates(documents)
    facts["duplicates_exact"] = len(documents) - len(kept)
    different = drop_near_duplicates(kept, spool) if options.deduplicate == "near" else kept
    facts["duplicates_near"] = len(kept) - len(different)
    return (
        split_tail(different, spool, place) if split == "tail" else split_by_documents(different)
    ), facts
