"""Score one trained model: the headline, and further scores on seeded samples."""

import numpy as np
import pandas as pd

from architectures.interface import Unsupported
from bench import evaluation
from bench.config.errors import UserError
from bench.config.schema import EvaluateConfig, Run
from bench.data import Corpus
from bench.evaluation import Score, Scorer, regret
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
    scorer, options = Scorer(objective, corpus, run.size.context, settings), run.evaluate
    score = _headline(scorer, options)
    metrics, windows = list(score.metrics), None
    if options.stretches and corpus.synthetic is None and objective.model.backbone.causal:
        metrics += evaluation.context_sweep(scorer, options)
    # sequences of a synthetic source that are windows already are not cut elsewhere
    if options.windows and (corpus.synthetic is None or not corpus.synthetic.windows):
        window_metrics, windows = evaluation.sampled_window_likelihood(scorer, options.windows)
        metrics += [*window_metrics, *_window_regret(scorer, windows)]
    if options.fillings and corpus.synthetic is None:
        metrics += evaluation.infill(scorer, options.fillings, run.seed)
    return score._replace(metrics=metrics), windows


def _headline(scorer: Scorer, options: EvaluateConfig) -> Score:
    """Return the score by what the objective allows: regret, likelihood or pseudo-likelihood."""
    if not scorer.model.backbone.causal:
        return evaluation.pseudo_likelihood(scorer, options.pseudo_positions)
    if scorer.corpus.synthetic is not None:
        return regret.causal_regret(scorer)
    return evaluation.score_by_protocol(scorer, options)


def _window_regret(scorer: Scorer, windows: pd.DataFrame) -> list[Metric]:
    """Return the regret on the sampled windows of a synthetic source; nothing for text."""
    law = scorer.corpus.synthetic
    if law is None:
        return []
    offsets, nats = windows["window"].to_numpy(np.int64), windows["nats"].to_numpy(float)
    tokens = evaluation.token_windows(scorer.part, offsets, scorer.context)
    return regret.window_regret_metrics(law, tokens, nats)
