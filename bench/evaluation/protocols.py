"""How much context a causal model may use: windows side by side or overlapping, or a state carried on; and what each gives."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from architectures.interface import State, Unsupported
from bench.config.schema import EvaluateConfig
from bench.data import Corpus, Part, Vocabulary, nats_per_unit
from bench.evaluation import sampling
from bench.evaluation.likelihood import (
    EVAL_BATCH,
    Score,
    causal_likelihood,
    likelihood_metrics,
    target_nats,
)
from bench.evaluation.sampling import Stretches
from bench.model import LanguageModel
from bench.records.metrics import Metric
from bench.training import Objective, TrainSettings, autocast, logits_nats, tokens_per_piece

MIN_CONTEXT = 32  # allowed context from which the curve begins, or a quarter of the model's own
EXTRAPOLATION = (2, 4)  # times the context that a model was trained on: who goes on to be good?
UNSUPPORTED_ERRORS = (
    ValueError,
    RuntimeError,
    IndexError,
    Unsupported,
)  # of a model that is given more than its context


def stride_of(options: EvaluateConfig, context: int) -> int:
    """Tokens that the windows of the protocol `stride` advance by."""
    return options.stride or max(1, context // 4)


def check_supported(model: LanguageModel, protocol: str, context: int) -> None:
    """Raises Unsupported where the model can not be scored by a protocol."""
    if not model.backbone.causal:
        raise Unsupported(
            "an encoder reads both ways: what may be said of its likelihood is found by unmasking, under no such protocol"
        )
    if protocol == "chunk":
        return
    if protocol == "stateful" and state_grows(model, context):
        raise Unsupported(
            "its state grows with the text, so that it can not be carried through a whole part: stride is for it"
        )


@torch.no_grad()
def state_grows(model: LanguageModel, context: int) -> bool:
    """Whether the state of twice as long a text is larger: as it is set up, or once the text is read (some grow as they read)."""
    lengths = (context, 2 * context)
    empty = [model.backbone.state_bytes(model.init_state(1, length)) for length in lengths]
    if empty[1] > empty[0]:
        return True
    read = torch.zeros(1, 2 * context, dtype=torch.long, device=model.embedding.weight.device)
    try:
        full = [
            model.hidden(read[:, :length], model.init_state(1, length))[1] for length in lengths
        ]
    except UNSUPPORTED_ERRORS as reason:
        raise Unsupported(" ".join(str(reason).split()) or type(reason).__name__) from None
    return model.backbone.state_bytes(full[1]) > model.backbone.state_bytes(full[0])


def score_by_protocol(
    objective: Objective,
    corpus: Corpus,
    part: Part,
    options: EvaluateConfig,
    context: int,
    plan: TrainSettings,
) -> Score:
    """Score a part by the protocol that the options name. Raises Unsupported."""
    check_supported(objective.model, options.protocol, context)
    if options.protocol == "stateful":
        return stateful(objective, part, corpus.vocabulary, context, plan)
    stride = stride_of(options, context) if options.protocol == "stride" else 0
    return causal_likelihood(objective, part, corpus.vocabulary, context, plan, stride)


def stateful(
    objective: Objective, part: Part, vocabulary: Vocabulary, context: int, plan: TrainSettings
) -> Score:
    """Score a causal model in one pass over the part, its state carried from the first token to the last."""
    found = carried_state_nats(
        objective, part, np.zeros(1, np.int64), len(part.tokens) - 1, context, plan
    )
    documents, nats, count = nats_per_unit(part, np.r_[0.0, found[0]], vocabulary.separator)
    return Score("stateful", likelihood_metrics(documents, nats, count), documents)


@torch.no_grad()
def carried_state_nats(
    objective: Objective,
    part: Part,
    starts: np.ndarray,
    length: int,
    piece: int,
    plan: TrainSettings,
) -> np.ndarray:
    """Nats of the `length` tokens behind each start, (B, length), read in pieces through a state that begins empty."""
    objective.eval()
    model, found = objective.model, []
    state: State = model.init_state(len(starts), length)
    rows = tokens_per_piece(model.vocabulary)
    for first in range(0, length, piece):
        block = torch.from_numpy(
            sampling.token_windows(part, starts + first, min(piece, length - first) + 1)
        ).to(plan.device)  # (B, T + 1)
        with autocast(plan):
            hidden, state = model.hidden(block[:, :-1], state)  # (B, T, D)
            each = zip(
                hidden.flatten(0, 1).split(rows), block[:, 1:].flatten().split(rows), strict=True
            )
            nats = torch.cat([logits_nats(model.head(some), targets) for some, targets in each])
        found.append(nats.view(len(starts), -1).double().cpu().numpy())
    return np.concatenate(found, axis=1)


def window_nats(
    objective: Objective,
    part: Part,
    pieces: Stretches,
    context: int,
    stride: int,
    plan: TrainSettings,
) -> np.ndarray:
    """Nats of the tokens of each stretch, (S, length): windows of `context`, of which the last `stride` tokens are scored.

    stride = context: windows side by side. Else each reads up to context - stride tokens before those that it scores, those
    before the stretch among them where the part has them.
    """
    objective.eval()
    ends = (
        pieces.starts[:, None] + np.arange(stride, pieces.length + 1, stride)
    ).ravel()  # offsets of the last targets
    begins = np.maximum(ends - context, 0)
    found = np.zeros((len(ends), stride))
    for read in np.unique(
        ends - begins
    ):  # few kinds: only at the part's beginning is a window shorter
        rows = np.flatnonzero(ends - begins == read)
        for some in np.split(rows, range(EVAL_BATCH, len(rows), EVAL_BATCH)):
            block = sampling.token_windows(part, begins[some], int(read) + 1)  # (b, T + 1)
            found[some] = target_nats(objective, block[:, :-1], block[:, 1:], plan)[:, -stride:]
    return found.reshape(len(pieces.starts), pieces.length)


# --- beside the headline, on a sample ---------------------------------------------------------------------------------


def context_lengths(context: int, most: int) -> list[int]:
    """Allowed lengths of context to try: doublings up to the model's own, then beyond it; each divides `most`."""
    inside = [context]
    while inside[-1] % 2 == 0 and inside[-1] // 2 >= min(MIN_CONTEXT, max(2, context // 4)):
        inside.append(inside[-1] // 2)
    tried = [*reversed(inside), *(times * context for times in EXTRAPOLATION)]
    return [length for length in tried if length <= most and most % length == 0]


def context_sweep(
    objective: Objective,
    corpus: Corpus,
    part: Part,
    options: EvaluateConfig,
    context: int,
    plan: TrainSettings,
) -> list[Metric]:
    """What other lengths of context and other protocols give a causal model, all on the same sample of the part."""
    pieces = sampling.sample_stretches(part, corpus.digest, context, options.stretches)
    text = (
        sampling.token_windows(part, pieces.starts + 1, pieces.length)
        != corpus.vocabulary.separator
    )  # (S, length)
    where = f"sample: {len(pieces.starts)} stretches of {pieces.length:,} tokens"
    found: list[Metric] = []
    chunk = np.zeros(0)
    for length in context_lengths(context, pieces.length):
        way = partial(window_nats, objective, part, pieces, length, length, plan)
        nats, reason = nats_or_reason(way) if length > context else (way(), "")
        means = () if nats is None else (float(nats[text].mean()),)
        found.append(
            Metric(
                "context_nats",
                "nats/token",
                "lower",
                means,
                reason or f"{where}, chunk({length})",
                {"context": length},
            )
        )
        chunk = nats if length == context and nats is not None else chunk
    stride, lead = stride_of(options, context), int(min(pieces.lead, pieces.starts.min()))

    def carry() -> np.ndarray:
        check_supported(objective.model, "stateful", context)
        return carried_state_nats(
            objective, part, pieces.starts - lead, pieces.length + lead, context, plan
        )[:, lead:]

    ways: dict[str, tuple[str, Callable[[], np.ndarray]]] = {
        "chunk": (f"chunk({context})", lambda: chunk),
        "stride": (
            f"stride({context}, {stride})",
            partial(overlapping_window_nats, objective, part, pieces, context, stride, plan),
        ),
        "stateful": (
            f"the state carried through each, and through {lead:,} tokens before it",
            carry,
        ),
    }
    scale = text_tokens_per_byte(part, corpus.vocabulary) / math.log(2)
    for name, (note, take) in ways.items():
        nats, reason = nats_or_reason(take)
        found += protocol_metrics(name, nats, chunk, text, scale, reason or f"{where}, {note}")
    return found


def overlapping_window_nats(
    objective: Objective,
    part: Part,
    pieces: Stretches,
    context: int,
    stride: int,
    plan: TrainSettings,
) -> np.ndarray:
    """Nats of stretches by overlapping windows; the last advance is a shorter one where `stride` does not divide a stretch."""
    whole = pieces.length // stride * stride
    nats = window_nats(objective, part, pieces._replace(length=whole), context, stride, plan)
    if whole == pieces.length:
        return nats
    rest = pieces._replace(starts=pieces.starts + whole, length=pieces.length - whole)
    return np.concatenate(
        [nats, window_nats(objective, part, rest, context, rest.length, plan)], axis=1
    )


def protocol_metrics(
    name: str, nats: np.ndarray | None, chunk: np.ndarray, text: np.ndarray, scale: float, note: str
) -> list[Metric]:
    """A protocol's bits per byte on the sample, and what it gains over windows side by side, with the error of that."""
    names = [f"{name}_bits_per_byte"] + (
        [] if name == "chunk" else [f"{name}_gain", f"{name}_gain_standard_error"]
    )
    if nats is None:
        return [Metric(names[0], "bits/byte", "lower", (), note)]
    gains = scale * np.array(
        [(was - now)[real].mean() for was, now, real in zip(chunk, nats, text, strict=True)]
    )
    _, error = sampling.mean_and_standard_error(gains)
    values = [scale * float(nats[text].mean()), scale * float((chunk - nats)[text].mean()), error]
    ways = ["lower", "higher", "neither"]
    return [
        Metric(called, "bits/byte", way, (value,), note)  # type: ignore[arg-type]
        for called, way, value in zip(names, ways, values, strict=False)
        if math.isfinite(value)
    ]


def nats_or_reason(way: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, str]:
    """What a way of scoring finds, or the reason why a model can not be scored so."""
    try:
        nats = way()
        return (nats, "") if np.isfinite(nats).all() else (None, "what it answers is no number")
    except UNSUPPORTED_ERRORS as reason:
        return None, " ".join(str(reason).split()) or type(reason).__name__


def text_tokens_per_byte(part: Part, vocabulary: Vocabulary) -> float:
    """Tokens that are no separators, for each byte of a part's text: what turns nats a token into nats a byte."""
    text = sum(
        int((np.asarray(part.tokens[first : first + (1 << 22)]) != vocabulary.separator).sum())
        for first in range(1, len(part.tokens), 1 << 22)
    )
    return text / int(part.sizes.sum())
