"""What each column of the CSV files holds: the metrics are explained by their registry."""

import re

HELP_TEXT = """
run: Folder of the run or measurement.
arch: Name of the architecture.
architecture: Label of the architecture with its recipe.
label: Name of the row on the page.
variant: Digest of the configuration without the seed.
subject: Digest of the measured workload.
data: Name of the data source.
data_digest: Digest of the tokens.
tokenizer: Name of the tokenizer.
size: Name of the size configuration.
objective: causal or masked.
protocol: How much context a scored token may use.
part: The scored part: validation or test.
precision: Precision of the forward pass.
seed: Seed of the run.
seeds: Finished seeds.
seeds_asked: Seeds that were started.
status: done, failed, skipped, unfinished or unreadable.
reason: Why there is no result.
bits_per_byte_low: Lower end of the 95 % interval.
bits_per_byte_high: Upper end of the 95 % interval.
bits_per_byte_seed_deviation: Standard deviation over seeds.
bits_per_byte_basis: Sources of variance that the interval covers.
machine: Identifier of the machine that measured.
sitting: Identifier of the measuring session.
lossy: Whether the tokenizer loses information.
control: Whether the row is the A/A control.
learning_rate: Learning rate of the training.
trials: Trials of the learning-rate search; 0: set by hand.
rate_origin: Where the learning rate comes from: own search, search of the YAML, or by hand.
searched_steps: Steps of a trial of the search that found the learning rate.
rate_elsewhere: In what that search differs from the run: steps, size, data; or unnoted.
validation_nats_before_end: Validation loss at 90 % of the steps, mean over seeds.
validation_nats_at_end: Validation loss at the last step, mean over seeds.
training_memory_bytes: Larger of the peaks of live tensors and of the allocator in a training step.
row: Key of the row in every file: architecture and variant, with -again for the A/A control.
family: Family of the architecture.
size_budget: What the width was solved for.
untuned: On which side no trial bounds the best learning rate.
target: Loss to be reached.
target_unit: Unit of the target.
target_reached: Seeds that reached the target.
tokens_to_target: Median training tokens to the target; inf is a miss.
flops_to_target: Median training FLOPs to the target; inf is a miss.
seconds_to_target: Median seconds to the target by the measured rate; inf is a miss.
metric: Name of the metric.
unit: Unit of the value.
better: Which direction is better: higher, lower or neither.
verdicts.csv:better: Row with the lower mean, whatever the verdict.
sample: Number of the sample.
value: The sample.
note: How the value was obtained, or why there is none.
at: Point on an axis, as in length=512.
round: Round of the measurement in which the sample was taken.
step: Optimizer step.
tokens: Tokens trained on so far.
nats: Training loss per token since the line before.
curves.csv:validation_nats: Loss on the fixed validation blocks.
comparison: Number of the comparison on the page.
other: The other row of the pair.
kind: The verdict.
difference: Difference of the means, bits per byte.
half: Half of the difference's 95 % interval.
p: p-value of the pair.
p_holm: p-value corrected for all pairs (by Shaffer's procedure, a sharper form of Holm's).
wins: Share of seed pairs won: P(a seed of `better` scores lower than one of `other`). No p value.
detectable: Difference that is detected 4 times in 5.
seeds_needed: Seeds per architecture that would settle the observed difference; inf: over 1,000.
basis: What the test compares: seeds, documents, or both.
sentence: The finding in words.
context: Tokens of context.
budget: Size budget that the width was solved for.
scaling.csv:tokens: Training tokens.
training_flops: Training FLOPs by formula.
loss: Mean loss over seeds.
law: Loss by the fitted law.
floor: Irreducible loss E.
floor_low: Lower end of its 95 % interval.
floor_high: Upper end of its 95 % interval.
floor_known: Whether E is given by the source.
size_term: Loss that size adds at at_parameters.
size_exponent: Exponent of size.
size_exponent_low: Lower end of its 95 % interval.
size_exponent_high: Upper end of its 95 % interval.
data_term: Loss that data adds at at_tokens.
data_exponent: Exponent of data.
data_exponent_low: Lower end of its 95 % interval.
data_exponent_high: Upper end of its 95 % interval.
at_parameters: Parameters at which size_term applies.
at_tokens: Tokens at which data_term applies.
at_bound: Which numbers of the law the fit puts at a bound, of E, A, a, B, b: no crossing then.
misfit: Standard deviation of the logarithm of measured over fitted loss.
cells: Measured points of the fit.
median: Median of the samples.
median_low: Lower end of its 95 % interval.
median_high: Upper end of its 95 % interval.
ratio_to_reference: Paired ratio to the reference subject.
low: Lower end of the ratio's 95 % interval.
high: Upper end of the ratio's 95 % interval.
clock: wall or cpu.
claim: Whether a ratio clears the bound of the A/A pair, and the calibration allows a claim.
geometric_mean: Geometric mean of the ratios per round.
mean_low: Lower end of its 95 % interval.
mean_high: Upper end of its 95 % interval.
rounds: Rounds that both took part in.
group: Digest of what stages share that may be compared: texts, labels, prompts, recipe.
task: Name of the task.
tasks.csv:kind: classification, generation or pairs.
start: Weights that were fine-tuned: pretrained, self (on the task's own texts) or scratch.
arm: Start, and times as many steps as the other arms take.
examples: Training examples asked for; 0 is all of them.
tasks.csv:value: The value; empty where the note says why there is none.
adjusted: p-value corrected for all pairs of the table.
task_verdicts.csv:first: Row with the better mean, whatever the verdict.
task_verdicts.csv:second: The other row of the pair.
task_verdicts.csv:difference: Difference of the means, in the unit of the metric.
preferences.csv:part: Name of the reward model, policy or curve within the record.
preferences.csv:kind: reward, policy, best_of or curve.
method: rloo, ppo or dpo; of a label curve, how labels are chosen.
beta: Log-odds that a nat of KL costs.
labels: Labels that were trained on.
flip: Share of labels that are reversed.
corrected: Whether the loss takes that share of labels as reversed.
shaping: How the rewards of tokens are shaped: potential, bonus, or not.
update: Updates of the policy before this look; 0 is the start.
n: Responses of which the best is taken.
preferences.csv:value: Mean of the samples.
standard_error: Standard error of the mean over prompts or repeats.
samples: Number of samples.
study: Name of the group of stages on the page.
kl: KL from the start, nats per response, at which the pair is compared.
measure: gold, or gain: gold above the start's.
preference_verdicts.csv:better: Architecture of the higher mean, whatever the verdict.
preference_verdicts.csv:difference: Difference of the means, in the gold's unit.
preference_verdicts.csv:seeds: Seeds that both have.
claimed: Whether the difference is claimed: p_holm is at most 0.05, and it is no control.
reference: Architecture of the reference subject.
first: First of the pair.
second: Second of the pair.
faster_below: Which one is faster below the crossing.
between_low: Measured length below the crossing.
between_high: Measured length above the crossing.
lengths: All measured lengths.
other_row: Key of the other row of the pair.
other_label: Label of the other row of the pair.
other_family: Family of the other row of the pair.
batch: Sequences at once, where the value was taken along this axis.
position: Tokens of the window before the predicted one, where taken along this axis.
length: Tokens of context, where the value was taken along this axis.
crossovers.csv:length: Interpolated length of the crossing.
runs.csv:context: Tokens of context allowed, where the value was taken along this axis.
references.csv:row: Name of the reference line.
references.csv:label: Name of the reference line.
references.csv:bits_per_byte: Its score on the text that the rows are scored on.
name: Name of the reference line.
sees: How much context it may use: none, windows (as the rows), unlimited, or pretrained.
as_read: Whether it is counted on what a run read, not on the whole training part.
training_tokens: Training tokens that it is counted on.
references.csv:note: How it was made.
document: Number of the held-out document.
bytes: Bytes of its raw text.
documents.parquet:tokens: Its scored tokens.
documents.parquet:nats: Its loss, in nats.
prompt: Text that the model was given.
generated: Text that the model wrote behind it.
nearest: Tokens between the nearest token of the bin and the predicted one's predecessor.
farthest: The same of the farthest token of the bin.
share: Mean share of saliency (gradient × embedding) on the tokens of the bin.
share_error: Standard error of the share over predictions.
predictions: Held-out predictions that were explained.
file: File of the report.
column: Name of the column. An empty cell has no value; inf is explained where it may occur.
columns.csv:unit: Unit, where the column is a metric.
columns.csv:better: higher or lower, where the column is a metric with a better direction.
help: What the column holds.
"""
HELP = dict(re.split(": ", line, maxsplit=1) for line in HELP_TEXT.strip().splitlines())
