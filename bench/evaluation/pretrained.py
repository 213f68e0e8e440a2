"""Score a checkpoint that was trained elsewhere on the text of a suite, as a reference line."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from architectures.interface import Backbone, PretrainedModel, Unsupported
from bench import data
from bench.config.errors import InvalidRun, UserError
from bench.config.identity import digest
from bench.config.schema import Run
from bench.data import Corpus
from bench.data.cache import hash_file
from bench.evaluation.likelihood import causal_likelihood, first_non_finite
from bench.evaluation.scorer import Scorer
from bench.model import backbone_class
from bench.records.metrics import PRETRAINED, Metric
from bench.records.schema import SCHEMA
from bench.records.store import read_json, write_json
from bench.records.validation import baselines_error
from bench.system.files import check_writable, expand_user
from bench.training import Batch, Causal, logits_nats, tokens_per_piece, train_settings

logger = logging.getLogger(__name__)


def names_checkpoint(run: Run) -> bool:
    """Tell whether `arch.pretrained` names what an architecture reads in place of training."""
    reader = backbone_class(run.arch).read_pretrained.__func__  # type: ignore[attr-defined]
    return reader is not Backbone.read_pretrained.__func__  # type: ignore[attr-defined]


def score_pretrained(run: Run, suite: Path) -> str:
    """Score the checkpoint of `arch.pretrained` by bits per byte and record it; return a sentence.

    Its windows have `size.context` of its own tokens. Raise UserError.
    """
    folder = expand_user(run.arch["pretrained"], "name the folder of a checkpoint").resolve()
    model, context = _read_checkpoint(run, folder), run.size.context
    check_writable(suite)
    options = replace(run.data, tokenizer=str(folder / "tokenizer.json"))
    corpus = data.prepare(options, run.names["data"])
    place = suite / "references" / f"{corpus.digest}-{context}-{_weights_digest(folder)}.json"
    if baselines_error(read_json(place)):
        logger.info("scoring %s on the %s part", folder.name, corpus.scored)
        lines = [_score_line(model, corpus, run, folder.name)]
        write_json(place, _record(corpus, context) | {"lines": lines})
    score = read_json(place)["lines"][0]["metrics"][0]["values"][0]
    return (
        f"{folder.name}: {score:.3f} bits per byte on the {corpus.scored} part, pre-trained "
        f"elsewhere, with a context of {context} of its own tokens"
    )


def _weights_digest(folder: Path) -> str:
    return digest([hash_file(path) for path in sorted(folder.glob("*.safetensors"))])


def _record(corpus: Corpus, context: int) -> dict[str, Any]:
    about = {"schema": SCHEMA, "data_digest": corpus.digest, "part": corpus.scored}
    return about | {"text_digest": corpus.facts["text_digest"], "context": context}


def _read_checkpoint(run: Run, folder: Path) -> PretrainedModel:
    """Return the model of a folder. Raise UserError where it cannot be scored."""
    name = f"arch.pretrained={folder}"
    if run.data.source == "synthetic":
        raise UserError(
            f"{name} reads text, and data={run.names['data']} draws symbols", "conflicting-values"
        )
    if not folder.is_dir():
        raise UserError(
            f"{name} is no folder: name one with config.json, *.safetensors and tokenizer.json",
            "missing-file",
        )
    try:
        model = backbone_class(run.arch).read_pretrained(folder)
    except Unsupported as reason:
        raise UserError(f"{name}: {reason}", "not-supported") from None
    if 0 < model.context < run.size.context:
        raise UserError(
            f"{name} reads at most {model.context} tokens: size.context={run.size.context} is more",
            "conflicting-values",
        )
    return model


def _score_line(model: PretrainedModel, corpus: Corpus, run: Run, name: str) -> dict[str, Any]:
    """Return the reference line of a checkpoint. Raise UserError for a score that is none."""
    context, tokens = run.size.context, corpus.vocabulary.separator
    if tokens > model.vocabulary:
        raise UserError(
            f"arch.pretrained: the tokenizer of {name} has {tokens:,} tokens and its model "
            f"{model.vocabulary:,}: they do not belong together",
            "conflicting-values",
        )
    corpus.check(context)
    metrics = {one.name: one for one in _metrics(model, corpus, run, name)}
    size, count = (metrics[key].values[0] for key in ("scored_bytes", "scored_tokens"))
    parameters = sum(one.numel() for one in model.logits.parameters())
    note = (
        f"trained on text that is not known, {parameters:,} parameters: outside the comparison of "
        f"equal budgets; windows of {context} of its own tokens, {size / count:.2f} bytes each"
    )
    scores = [metrics["bits_per_byte"].as_json()]
    return {"name": name, "context": PRETRAINED, "note": note, "metrics": scores}


def _metrics(model: PretrainedModel, corpus: Corpus, run: Run, name: str) -> list[Metric]:
    """Return the headline metrics of a checkpoint. Raise UserError for a score that is none."""
    settings, separator = train_settings(run), corpus.vocabulary.separator
    objective = PretrainedObjective(model, separator).to(settings.device)
    try:
        metrics = causal_likelihood(Scorer(objective, corpus, run.size.context, settings)).metrics
    except InvalidRun as error:
        raise UserError(f"arch.pretrained: {name}: {error}", error.code) from None
    if wrong := first_non_finite(metrics):
        raise UserError(f"arch.pretrained: {wrong} of {name} is not finite: see its weights")
    return metrics


class CheckpointModel(nn.Module):
    """What an objective and a check of leaks need of a checkpoint."""

    def __init__(self, model: PretrainedModel, separator: int) -> None:
        super().__init__()
        self.logits, self.start = model.logits, model.start
        self.separator, self.vocabulary = separator, separator + 1

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits, (B, T) -> (B, T, V); its own token stands for the separator."""
        logits: Tensor = self.logits(self.own_ids(tokens))
        return logits

    def own_ids(self, ids: Tensor) -> Tensor:
        """Return ids with its own token in place of the separator."""
        return torch.where(ids == self.separator, self.start, ids)


class PretrainedObjective(Causal):
    """Score each token of a text by a checkpoint."""

    model: Any

    def __init__(self, model: PretrainedModel, separator: int) -> None:
        super().__init__(CheckpointModel(model, separator))  # type: ignore[arg-type]

    def token_nats(self, batch: Batch) -> Tensor:
        """Return the nats of every target, (B, T), in float32."""
        return torch.cat([*self._nats(batch)])

    def _nats(self, batch: Batch) -> Iterator[Tensor]:
        rows = max(1, tokens_per_piece(self.model.vocabulary) // batch.tokens.shape[1])
        targets = self.model.own_ids(batch.targets)
        for tokens, own in zip(batch.tokens.split(rows), targets.split(rows), strict=True):
            logits = self.model(tokens).flatten(0, 1)
            yield logits_nats(logits, own.flatten()).view_as(own)
