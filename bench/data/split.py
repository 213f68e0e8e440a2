"""Which documents stay, and which part each belongs to. Depends on the texts alone: neither on order nor on chance."""

from collections import defaultdict
from collections.abc import Iterable

from bench.config import Data, Mistake
from bench.data.spool import Document, Spool

Span = tuple[int, int]  # begin and end in the spool, bytes
RUN = 13  # words of a run that counts as copied
SHARE = 0.2  # of a document's runs that may have been seen before
STRATUM = 30  # documents that a class of size needs to be split on its own


def without_copies(documents: Iterable[Document]) -> list[Document]:
    """The first of each text."""
    first: dict[bytes, Document] = {}
    for document in documents:
        first.setdefault(document.digest, document)
    return list(first.values())


def without_near_copies(documents: list[Document], spool: Spool) -> list[Document]:
    """Longest first, leave out a document of which over 20 % of its 13-word runs were seen. Holds a number per run in memory."""
    seen: set[int] = set()
    kept = []
    for document in sorted(documents, key=lambda document: (-document.size, document.digest)):
        words = spool.read(document.begin, document.end).split()
        runs = {hash(tuple(words[at : at + RUN])) for at in range(len(words) - RUN + 1)}
        if len(runs & seen) <= SHARE * len(runs):
            seen |= runs
            kept.append(document)
    return sorted(kept)


def strata(documents: list[Document]) -> list[list[Document]]:
    """Classes of size, a factor of two each; small classes join the one below. Within a class the texts' digests order."""
    classes: dict[int, list[Document]] = defaultdict(list)
    for document in documents:
        classes[document.size.bit_length()].append(document)
    merged: list[list[Document]] = []
    waiting: list[Document] = []
    for width in sorted(classes, reverse=True):
        waiting += classes[width]
        if len(waiting) >= STRATUM:
            merged.append(waiting)
            waiting = []
    if waiting and merged:
        merged[-1] += waiting
    elif waiting:
        merged.append(waiting)
    return [sorted(stratum, key=lambda document: document.digest) for stratum in merged]


def by_documents(documents: list[Document]) -> dict[str, list[Span]]:
    """80/10/10 of each class of size, by the digests of the texts: one document more moves at most two others."""
    if len(documents) < 3:
        raise Mistake(f"data.split=documents needs 3 different documents, and there are {len(documents)}: use data.split=tail")
    parts: dict[str, list[Document]] = {"train": [], "validation": [], "test": []}
    for stratum in strata(documents):
        held = max(1, round(len(stratum) / 10))
        parts["test"] += stratum[:held]
        parts["validation"] += stratum[held : 2 * held]
        parts["train"] += stratum[2 * held :]
    ordered = {part: sorted(chosen, key=lambda document: document.digest) for part, chosen in parts.items()}
    return {part: [(document.begin, document.end) for document in chosen] for part, chosen in ordered.items()}


def by_tail(documents: list[Document], spool: Spool, place: str) -> dict[str, list[Span]]:
    """The first int(0.9 · characters) are for training, the rest for validation; the document on the border is cut in two."""
    counts = [spool.characters(document.begin, document.end) for document in documents]
    left = int(0.9 * sum(counts))
    if left < 2 or sum(counts) - left < 2:
        raise Mistake(f"data.path={place} has {sum(counts)} characters, too short to split at 90 %: give a longer text")
    train: list[Span] = []
    validation: list[Span] = []
    for document, count in zip(documents, counts, strict=True):
        border = spool.offset(document.begin, document.end, max(0, left))
        train += [(document.begin, border)] if border > document.begin else []
        validation += [(border, document.end)] if border < document.end else []
        left -= count
    return {"train": train, "validation": validation}


def as_given(documents: list[Document]) -> dict[str, list[Span]]:
    """The parts that the source came in. Raises Mistake without a training and a validation part."""
    parts: dict[str, list[Span]] = {"train": [], "validation": [], "test": []}
    for document in documents:
        if document.part not in parts:
            raise Mistake(f"data.parts names {document.part!r}, which is no part; known: {', '.join(parts)}")
        parts[document.part].append((document.begin, document.end))
    for part in ("train", "validation"):
        if not parts[part]:
            raise Mistake(f"data.split=given has no {part} part: name it in data.parts, or use data.split=documents or tail")
    return {part: spans for part, spans in parts.items() if spans}


def resolve(options: Data, single: bool) -> str:
    """documents, tail or given. Raises Mistake where the words do not go together."""
    split = options.split if options.split != "auto" else ("tail" if single else "documents")
    if split == "given" and options.source != "hub":
        raise Mistake(f"data.split=given needs a set that comes in parts, not data.source={options.source}: use documents, tail")
    if split == "given" and options.deduplicate == "near":
        raise Mistake(
            "data.deduplicate=near does not go with data.split=given, which keeps the set as it is: use documents, tail"
        )
    return split


def divide(options: Data, spool: Spool, single: bool) -> tuple[dict[str, list[Span]], dict[str, object]]:
    """Parts as stretches of the spool, and the facts of what was left out."""
    split = resolve(options, single)
    documents, place = spool.documents, options.path or options.repository
    if not documents:
        raise Mistake(f"data.path={place} holds nothing but white space: there is nothing to learn from")
    facts: dict[str, object] = {"split": split, "documents_found": len(documents), "documents_empty": spool.blank}
    if split == "given":
        training = {document.digest for document in documents if document.part == "train"}
        shared = sum(document.part != "train" and document.digest in training for document in documents)
        return as_given(documents), facts | {"duplicates_exact": 0, "duplicates_near": 0, "held_out_seen_in_training": shared}
    kept = without_copies(documents)
    facts["duplicates_exact"] = len(documents) - len(kept)
    different = without_near_copies(kept, spool) if options.deduplicate == "near" else kept
    facts["duplicates_near"] = len(kept) - len(different)
    return (by_tail(different, spool, place) if split == "tail" else by_documents(different)), facts
