"""Compare answers with references as text: exact match, chrF, BLEU, ROUGE-L. Imports no torch."""

import numpy as np

from bench.records.metrics import Metric, metric


def text_metrics(answers: list[str], references: list[str]) -> list[Metric]:
    """Return exact match, and chrF, BLEU and ROUGE-L where their packages are installed."""
    hits = [answer == reference for answer, reference in zip(answers, references, strict=True)]
    return [metric("exact_match", float(np.mean(hits))), *overlap_metrics(answers, references)]


def overlap_metrics(answers: list[str], references: list[str]) -> list[Metric]:
    """Return chrF, BLEU (sacrebleu) and ROUGE-L (rouge-score), with their signatures as notes."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu import BLEU, CHRF
    except ImportError as error:
        note = f"needs {error.name}: python -m pip install sacrebleu rouge-score"
        return [metric(name, note=note) for name in ("chrf", "bleu", "rouge_l")]
    chrf, bleu = CHRF(), BLEU(effective_order=False)
    metrics = []
    for name, scorer in (("chrf", chrf), ("bleu", bleu)):
        score = scorer.corpus_score(answers, [references]).score
        metrics.append(metric(name, score, str(scorer.get_signature())))
    rouge = RougeScorer(["rougeL"])
    scores = [
        rouge.score(reference, answer)["rougeL"].fmeasure
        for answer, reference in zip(answers, references, strict=True)
    ]
    return [*metrics, metric("rouge_l", float(np.mean(scores)), "rouge-score, F1, no stemmer")]
