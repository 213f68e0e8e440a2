"""List the metrics of what is trained further: one entry each, in the order of table columns."""

from bench.records.metric_table import Better

# fmt: off
TASK_SPECS: tuple[tuple[str, str, Better, str, str, str], ...] = (
    # name, unit, which way is better, section, title, help
    ("label_accuracy", "share", "higher", "fine_tuning", "accuracy",
     "Share of the test examples whose label is predicted."),
    ("macro_f1", "share", "higher", "fine_tuning", "macro F1",
     "Mean over the labels of the harmonic mean of precision and recall."),
    ("matthews", "correlation", "higher", "fine_tuning", "Matthews",
     "Correlation of predicted and true label, for two labels; 0 for a constant prediction."),
    ("label_nats", "nats/example", "lower", "fine_tuning", "nats per label",
     "Loss of the true label per test example."),
    ("pair_accuracy", "share", "higher", "fine_tuning", "pairs",
     "Share of minimal pairs whose acceptable text is the likelier one; no fine-tuning."),
    ("exact_match", "share", "higher", "fine_tuning", "exact match",
     "Share of the scored test examples whose greedy answer is the reference, to the character."),
    ("answer_bits_per_byte", "bits/byte", "lower", "fine_tuning", "bits per byte of answer",
     "Loss of the reference answers per byte, their ends included: a true likelihood for all."),
    ("input_worth", "bits/byte", "higher", "fine_tuning", "worth of the input",
     "Loss with the next example's input in place of the own, less the own: 0 where the input is "
     "not read."),
    ("chrf", "points", "higher", "fine_tuning", "chrF",
     "Overlap of character n-grams with the reference, over all answers; a copy may score high."),
    ("bleu", "points", "higher", "", "BLEU",
     "Overlap of word n-grams with the reference, over all answers."),
    ("rouge_l", "share", "higher", "", "ROUGE-L",
     "Longest common word sequence with the reference, F1, mean over answers."),
    ("cut_share", "share", "lower", "", "cut inputs",
     "Share of the scored test inputs that were too long and were cut."),
    ("seen_in_pretraining", "share", "lower", "", "seen in pre-training",
     "Share of the test texts of 20 bytes or more that stand in the text of pre-training."),
    ("unseen_accuracy", "share", "higher", "", "accuracy on unseen texts",
     "Share of solved test examples among those whose text does not stand in pre-training."),
    ("finetune_flops", "FLOPs", "lower", "fine_tuning", "FLOPs of fine-tuning",
     "FLOPs of fine-tuning by formula: three forward passes per token, one where frozen."),
    ("pretraining_flops", "FLOPs", "lower", "fine_tuning", "FLOPs of pre-training",
     "FLOPs of pre-training the weights that fine-tuning starts from, by formula."),
)
# fmt: on
