"""Score one trained model: the headline, and further scores on seeded samples."""

import numpy as np
import pandas as pd

from architectures.interface import Unsupported
from bench import evaluation
from bench.config.errors import UserError
from bench.config.schema import Run
from bench.data import Corpus
from bench.evaluation import Score, regret
from bench.model import LanguageModel
from bench.records.metrics import Metric
from bench.training import Objective, TrainSettings


def check_protocol_supported(language_model: LanguageModel, run: Run, corpus: Corpus) -> None:
    """Raise UserError where a causal model cannot be scored by the protocol of the run."""
    protocol = run.evaluate.protocol
    if not language_model.backbone.causal or protocol == "chunk":
        return
    if corpus.synthetic is not None:
        raise UserError(
            f"evaluate.protocol={protocol} is for text: a synthetic source, "
            "whose regret is known, is scored by chunk only",
            "not-supported",
        )
    try:
        evaluation.check_supported(language_model, protocol, run.size.context)
    except Unsupported as reason:
        arch = run.names["arch"]
        raise UserError(
            f"evaluate.protocol={protocol} does not suit arch={arch}: {reason}", "not-supported"
        ) from None


def score_model(
    objective: Objective, corpus: Corpus, run: Run, settings: TrainSettings
) -> tuple[Score, pd.DataFrame | None]:
    """Return the score on held-out text with all further metrics, and nats of sampled windows.

    Raises LeakDetected.
    """
    part, context, options = corpus.parts[corpus.scored], run.size.context, run.evaluate
    score = _headline(objective, corpus, run, settings)
    metrics, windows = list(score.metrics), None
    if options.stretches and corpus.synthetic is None and objective.model.backbone.causal:
        metrics += evaluation.context_sweep(objective, corpus, part, options, context, settings)
    # sequences of a synthetic source that are windows already are not cut elsewhere
    if options.windows and (corpus.synthetic is None or not corpus.synthetic.windows):
        window_metrics, windows = _score_windows(objective, corpus, run, settings)
        metrics += window_metrics
    if options.fillings and corpus.synthetic is None:
        count, seed = options.fillings, run.seed
        metrics += evaluation.infill(objective, corpus, context, count, seed, settings)
    return score._replace(metrics=metrics), windows


def _headline(objective: Objective, corpus: Corpus, run: Run, settings: TrainSettings) -> Score:
    """Return the score by what the objective allows: regret, likelihood or pseudo-likelihood."""
    part, context, options = corpus.parts[corpus.scored], run.size.context, run.evaluate
    if not objective.model.backbone.causal:
        count = options.pseudo_positions
        return evaluation.pseudo_likelihood(
            objective, part, corpus.vocabulary, context, settings, count
        )
    if corpus.synthetic is not None:
        return regret.causal_regret(objective, part, corpus.synthetic, context, settings)
    return evaluation.score_by_protocol(objective, corpus, part, options, context, settings)


def _score_windows(
    objective: Objective, corpus: Corpus, run: Run, settings: TrainSettings
) -> tuple[list[Metric], pd.DataFrame]:
    """Return the metrics of sampled windows, with the regret of a synthetic source, and nats."""
    context = run.size.context
    metrics, windows = evaluation.sampled_window_likelihood(
        objective, corpus, context, run.evaluate.windows, settings
    )
    if corpus.synthetic is None:
        return metrics, windows
    offsets, nats = windows["window"].to_numpy(np.int64), windows["nats"].to_numpy(float)
    tokens = evaluation.token_windows(corpus.parts[corpus.scored], offsets, context)
    return [*metrics, *regret.window_regret_metrics(corpus.synthetic, tokens, nats)], windows
