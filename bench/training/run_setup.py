"""Build what one run trains: the model, its objective, its blocks and its settings."""

from dataclasses import dataclass, replace

import torch

from bench.config.schema import Run
from bench.data import Blocks, Corpus
from bench.model import LanguageModel, build_sized_model
from bench.model.contract import check_before_training
from bench.training.compilation import check_compile
from bench.training.distributed import ProcessGroup, join_process_group
from bench.training.loop import Batches
from bench.training.objective import Objective, Trainable, build_objective
from bench.training.settings import (
    TrainSettings,
    set_matmul_precision,
    torch_generator,
    train_settings,
)

RANDOM_BATCHES = 4  # different batches of random tokens


@dataclass(frozen=True)
class TrainSetup:
    """What the training loop trains, on its device and checked."""

    model: LanguageModel
    objective: Trainable
    blocks: Batches
    settings: TrainSettings

    @property
    def group(self) -> ProcessGroup:
        """Return the processes that train together."""
        return self.settings.group


@dataclass(frozen=True)
class Setup(TrainSetup):
    """What one run pre-trains."""

    objective: Objective
    blocks: Blocks


def setup(run: Run, corpus: Corpus) -> Setup:
    """Return what a run trains on a corpus; join its process group.

    Raise UserError where the run cannot start, Unsupported where the architecture cannot do it.
    """
    settings, blocks = resolve_inputs(run, corpus)
    group = join_process_group(settings.device, run.train.sharding)
    model = build_sized_model(run, corpus.vocabulary.size, settings.device)
    check_before_training(model)
    objective = build_objective(run.objective, model)
    return Setup(model, objective, blocks, replace(settings, group=group))


def resolve_inputs(run: Run, corpus: Corpus) -> tuple[TrainSettings, Blocks]:
    """Return the settings and the blocks of a run.

    Raise UserError for a device or compiler that this machine lacks, and for too little text.
    """
    settings, part = _settings(run), corpus.parts["train"]
    corpus.check(run.size.context)
    blocks = Blocks(part.tokens, run.size.context, run.train.batch, run.seed, part.loss_mask)
    return settings, blocks


def setup_on_random_tokens(run: Run, vocabulary: int, context: int = 0, batch: int = 0) -> Setup:
    """Return what a run trains, on uniformly random tokens, with the initial weights of seed 0.

    The width is the one of the run's own context, whatever `context` the model is built for.
    """
    settings = _settings(run)
    context, batch = context or run.size.context, batch or run.train.batch
    model = build_sized_model(run, vocabulary, settings.device, context=context, seed=0)
    objective = build_objective(run.objective, model)
    length = RANDOM_BATCHES * batch * context + 1
    tokens = torch.randint(vocabulary, (length,), generator=torch_generator(0)).numpy()
    return Setup(model, objective, Blocks(tokens, context, batch, seed=0), settings)


def _settings(run: Run) -> TrainSettings:
    settings = train_settings(run)
    check_compile(settings)
    set_matmul_precision(settings)
    return settings
