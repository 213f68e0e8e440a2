"""Everything that is scored of one trained model: the headline, and what stands beside it on seeded samples."""

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
    """Raises UserError, before training, where a causal model can not be scored by the protocol that was asked for."""
    protocol = run.evaluate.protocol
    if not language_model.backbone.causal or protocol == "chunk":
        return
    if corpus.synthetic is not None:
        raise UserError(
            f"evaluate.protocol={protocol} is for text: beside its best possible loss a source is scored by chunk"
        )
    try:
        evaluation.check_supported(language_model, protocol, run.size.context)
    except Unsupported as reason:
        raise UserError(
            f"evaluate.protocol={protocol} does not suit arch={run.names['arch']}: {reason}"
        ) from None


def score_model(
    asked: Objective, corpus: Corpus, run: Run, plan: TrainSettings
) -> tuple[Score, pd.DataFrame | None]:
    """The score on held-out text, by what the objective allows, with what stands beside it; and nats of the sampled windows.

    Raises Leak.
    """
    part, context, options = corpus.parts[corpus.scored], run.size.context, run.evaluate
    if asked.model.backbone.causal and corpus.synthetic is not None:
        score = regret.causal_regret(asked, part, corpus.synthetic, context, plan)
    elif asked.model.backbone.causal:
        score = evaluation.score_by_protocol(asked, corpus, part, options, context, plan)
    else:
        score = evaluation.pseudo_likelihood(
            asked, part, corpus.vocabulary, context, plan, options.pseudo_positions
        )
    further, windows = list[Metric](), None
    if options.stretches and corpus.synthetic is None and asked.model.backbone.causal:
        further += evaluation.context_sweep(asked, corpus, part, options, context, plan)
    if options.windows and (
        corpus.synthetic is None or not corpus.synthetic.windows
    ):  # sequences of their own are cut nowhere else
        found, windows = evaluation.sampled_window_likelihood(
            asked, corpus, context, options.windows, plan
        )
        further += found
        if corpus.synthetic is not None:
            tokens = evaluation.token_windows(
                part, windows["window"].to_numpy(dtype=np.int64), context
            )
            further += regret.window_regret_metrics(
                corpus.synthetic, tokens, windows["nats"].to_numpy(dtype=float)
            )
    if options.fillings and corpus.synthetic is None:
        further += evaluation.infill(asked, corpus, context, options.fillings, run.seed, plan)
    return score._replace(metrics=[*score.metrics, *further]), windows
