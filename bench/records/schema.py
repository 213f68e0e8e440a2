"""State what each file of a record holds, for validation and for the docs. Imports no torch."""

from typing import NamedTuple

from bench.records.record_files import NUMBER as NUMBER
from bench.records.record_files import record_file as _file

SCHEMA = 1
FINISHED = ("done", "failed", "skipped")

CONFIG = _file("config.yaml", "the resolved configuration, as the conf/ folder documents it", """
    arch                    | mapping  | class (`_target_`) and options of the architecture
    arch.family             | text?    | family that groups the report's cards
    arch.card               | mapping? | summary and paper
    arch.tune               | mapping? | learning rate and how it was found
    arch.tune.learning_rate | number or mapping? | one rate, or one per optimizer
    arch.tune.trials        | int?     | trials of the search that found it
    names.arch              | text     | name of the YAML chosen for arch
    names.data              | text     | name of the YAML chosen for data
    names.size              | text     | name of the YAML chosen for size
    seed                    | int      | seed of weights, data order, masks and dropout
    data.tokenizer          | text     | kind or path of the tokenizer
    data.synthetic          | mapping? | law of a synthetic source
    size.parameters         | int      | budget of parameters
    size.context            | int      | tokens of a training window
    size.state_bytes        | int?     | budget of state, where match is state
    size.match              | text?    | what the width is solved for
    size.count              | text?    | which parameters the budget counts
    objective.kind          | text     | auto, causal or masked
    train.steps             | int      | steps of training
    train.batch             | int      | sequences per step
    train.learning_rate     | number?  | overrides the architecture's
    train.match             | text?    | what the number of steps is planned from
    train.budget            | number?  | FLOPs or seconds of a planned run
    train.precision         | text?    | precision asked for
    optimizer               | mapping? | kind and options of the optimizer
    optimizer.kind          | text?    | adamw or muon
    tune                    | mapping? | options of a learning-rate search
    tune.trials             | int?     | trials of the search
    evaluate                | mapping? | protocol and sample sizes of evaluation
    evaluate.prompt         | text?    | prompt of the text sample
    control.arch            | text?    | architecture of the A/A control
    control.seeds           | list?    | seeds of the A/A control
""")  # fmt: skip
ENVIRONMENT = _file("environment.json", "the machine and its software", """
    machine            | text?    | digest of processor, cores, memory and accelerators
    processor          | text?    | model of the processor
    cores              | int?     | cores of the machine
    memory_bytes       | int?     | memory of the machine
    accelerator        | text?    | model of the accelerator, empty on a CPU
    system             | text?    | operating system
    threads            | int?     | threads of the run
    openmp_wait_policy | text?    | how idle threads wait
    allocator          | text?    | settings of the memory allocator
    python             | text?    | version
    torch              | text?    | version
    packages           | mapping? | versions of other packages
""")  # fmt: skip
PROVENANCE = _file("provenance.json", "what the run was made from", """
    attempt        | int?     | 1, or n of a folder -an
    variant        | text?    | identity without the seed: the rows of tables
    subject        | text?    | identity of what measurements measure
    rerun          | text?    | command that runs it again
    command        | text?    | command that started it
    starts         | list?    | time, host and process of each start
    git            | mapping? | commit, and whether files differed from it
    git.commit     | text?    | commit of the working tree
    bases          | mapping? | runs that it starts from: name, folder, SHA-256 of the weights
    data           | mapping? | documents, bytes, tokens, duplicates, unseen characters
    digests        | mapping? | digests of what went in
    digests.data   | text?    | tokens of all parts and the tokenizer
    digests.order  | text?    | indices of every block trained on
    digests.text   | text?    | raw text of all parts
    digests.source | text?    | source files that decide weights and scores
""")  # fmt: skip
CURVE = _file("curve.jsonl", "a line per logged step", """
    step            | number  | step of training
    tokens          | number? | tokens trained on
    nats            | number? | mean loss per target since the line before
    learning_rate   | number? | learning rate of the step
    validation_nats | number? | loss on fixed blocks of the validation part
    targets         | number? | targets with a loss since the line before
    seconds         | number? | wall time of training
""")  # fmt: skip
RESULT = _file("result.json", "the outcome; written last, by rename", """
    schema            | int      | version of this format: 1
    status            | text     | done, failed or skipped
    reason            | text?    | why it failed or was skipped
    facts             | mapping? | what was decided on the way; `started: false` if it never began
    facts.objective   | text?    | causal or masked
    facts.protocol    | text?    | protocol of the headline score
    facts.part        | text?    | part of the data that was scored
    facts.precision   | text?    | precision used
    facts.muon_precision   | text? | precision of Muon's products
    facts.auxiliary_pieces | int?  | parts of a batch, each with its own auxiliary loss: not linear
    facts.code        | text?    | reason code of a failure
    facts.kernels     | text?    | kernels that recurrences ran on
    facts.data_digest | text?    | digest of the data, in a further evaluation
    metrics           | list     | measured quantities, as below
    files             | mapping? | SHA-256 of the files of the record that are not JSON
""")  # fmt: skip
METRIC = _file("result.json: a metric", "a measured quantity", """
    name   | text     | name in the registry
    values | list     | samples, never statistics; empty where there is none, and the note says why
    unit   | text?    | unit of the values
    better | text?    | higher, lower or neither
    note   | text?    | how it was taken
    at     | mapping? | point on an axis, as in `{"length": 256}`
    rounds | list?    | round of each sample, where rounds were paired
""")  # fmt: skip
SALIENCY = _file("saliency.json", "what held-out predictions look at: gradient × input", """
    schema    | int    | version of this format: 1
    reason    | text   | why there are no numbers; empty where there are
    part      | text   | part of the data that was sampled
    context   | int    | tokens of a window
    distances | list   | first and last distance of each bin, in tokens; the last token has 0
    shares    | list   | per prediction: the share of saliency in each bin
    passages  | list   | a mapping per prediction that is shown as text, as below
    seconds   | number | time it took
""")  # fmt: skip
PASSAGE = _file("saliency.json: a passage", "the context of one prediction", """
    offset      | int    | first token of the context in the part
    pieces      | list   | texts of the last tokens of the context, in order
    shares      | list   | share of saliency of each piece
    target      | text   | the next token, which is explained
    probability | number | that the model gives it
    prediction  | text   | the token that the model holds most likely
    attention   | list   | a mapping per head: layer, head, and weights of each piece
""")  # fmt: skip
SUBJECT = _file("subject.json", "what was measured", """
    machine                     | text     | digest of the machine
    subject                     | text     | identity of what was measured
    arch                        | text     | name of the architecture's YAML
    twin                        | bool?    | whether it is the A/A duplicate
    environment                 | mapping? | as environment.json, of the worker
    options                     | mapping? | options of the measurement
    facts                       | mapping? | width, FLOPs, device, precision and others
    decode                      | text?    | forms of the one-token step measured, and why no other
    described                   | mapping? | the architecture's YAML
    described.family            | text?    | family that groups the report's cards
    described.card              | mapping? | summary and paper
    protocol                    | mapping? | options, source, threads, torch, and their digest
    surroundings                | mapping? | state of the machine around the session
    surroundings.before         | mapping? | load, clocks, affinity before
    surroundings.after          | mapping? | the same after
    surroundings.process_starts | list?    | round at which each process began
    surroundings.stopped        | bool?    | whether it was stopped before its end
""")  # fmt: skip
CALIBRATION = _file("doctor.json", "whether the session's measuring instruments are right", """
    findings  | list  | a mapping per check: name, expected, came, unit, off, sentence
    sentences | list? | about the machine
""")  # fmt: skip
BASELINES = _file("references/<data>-<context>[-<order>].json", "baselines of a text", """
    data_digest     | text  | digest of the data
    text_digest     | text? | of the text alone: a checkpoint has a tokenizer of its own
    part            | text  | part that is scored
    context         | int   | tokens of a window
    order_digest    | text? | order of the run whose blocks they are counted on; else on all text
    training_tokens | int?  | tokens that they are counted on
    reason          | text? | why there is none
    lines           | list  | a mapping per baseline, as below
""")  # fmt: skip
BASELINE = _file("references/…: a baseline", "what needs no architecture", """
    name    | text | uniform, unigram, n-gram, lzma, or the folder of a checkpoint
    note    | text | how it was made
    context | text | none, windows, unlimited, or pretrained: windows of its own tokens
    metrics | list | as in result.json
""")  # fmt: skip
SEARCH = _file("tune/searches/<arch>-<digest>.json", "a search for a learning rate", """
    arch    | text    | name of the architecture's YAML
    metric  | text    | score of a trial
    steps   | int     | steps of a trial
    batch   | int     | sequences per step
    context | int     | tokens of a window
    space   | mapping | ranges drawn from
    trials  | list    | a mapping per trial, as below
""")  # fmt: skip
TRIAL = _file("tune/searches/…: a trial", "one trial of a search", """
    score                | number? | null where it diverged
    values.learning_rate | number  | rate that was tried
    uniform              | number? | score of equal probabilities
    repeats              | list?   | the same with another seed: a trial each
""")  # fmt: skip
PLAN = _file("plans/<arch>-<digest>.json", "the steps that a budget pays for", """
    steps      | int   | steps of training
    machine    | text? | digest of the machine whose rate it was planned by
    vocabulary | int?  | tokens of the vocabulary whose FLOPs were counted
""")  # fmt: skip
CHECKS = _file("checks/<arch>-<digest>.json", "the contract's results", """
    architecture | text | identity of the architecture
    target       | text | its class
    source       | text | digest of the source files that decide the results
    findings     | list | a mapping per check: name, status, and what came
""")  # fmt: skip
FINDING = _file("checks/…: a finding", "the result of one check", """
    name   | text | name of the check
    status | text | passed, failed or skipped
""")  # fmt: skip
FILES = (
    CONFIG, ENVIRONMENT, PROVENANCE, CURVE,
    _file("checkpoint/training.pt", "state of training; removed once the result is written"),
    _file("checkpoint/weights.pt, vocabulary.json", "`width` and `model`; the tokens"),
    _file("documents.parquet", "`document, bytes, tokens, nats` of each held-out document"),
    _file("examples.parquet", "`example, digest, text, target, hit, nats, prediction` of a task"),
    _file("trials.json", "learning rates tried for a task, with errors and loss on validation"),
    _file("checkpoint/head.pt, task.json", "head and labels of a fine-tuned classifier"),
    _file("windows.parquet", "`window, tokens, bytes, nats` of each sampled window"),
    _file("text.txt", "the prompt and what the model generated"),
    SALIENCY, PASSAGE, RESULT, METRIC,
    _file("evaluations/<protocol>-<digest>/", "a further score: result.json, documents.parquet"),
    _file(".lock, ../.locks/", "locks of the process that trains and of its command"),
    SUBJECT, CALIBRATION, BASELINES, BASELINE, SEARCH, TRIAL, PLAN, CHECKS, FINDING,
)  # fmt: skip


class RecordRow(NamedTuple):
    """A row of the docs' table of files and keys."""

    file: str
    key: str  # empty for the file itself
    type: str
    help: str


def record_rows() -> list[RecordRow]:
    """Return a row per file and per key for the docs."""
    rows = []
    for file in FILES:
        rows.append(RecordRow(file.name, "", "", file.meaning))
        rows += [RecordRow(file.name, key.path, key.kind, key.meaning) for key in file.keys]
    return rows
