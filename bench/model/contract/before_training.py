"""Check a model at its own size before it is trained."""

from architectures.interface import Unsupported
from bench.model import (
    PLUGIN_ERRORS,
    LanguageModel,
    ModelBuildError,
    describe_error,
    refuse_changes,
)
from bench.model.contract.dependence import Case, check_causal, check_rows
from bench.model.contract.perturbation import changed_parameters
from bench.model.contract.probes import CheckFailed, check_output, preserve_state, random_input
from bench.model.contract.states import SHORT_PIECES, check_pieces

MAX_LENGTH = 1024  # tokens, where the context is longer
TOKENS, MIN_BATCH, MAX_BATCH = 4096, 2, 64  # of one forward pass
STATE_TOLERANCE = 1e-2  # of the largest output: rounding grows with the width, a fault is larger


def check_before_training(model: LanguageModel) -> None:
    """Raise ModelBuildError for a malformed output, one that looks ahead, or a hidden state.

    The model is left in training mode, and it and the random generators are unchanged.
    """
    name = type(model.backbone).__name__
    try:
        with refuse_changes(name, generators=True), preserve_state(model):
            check_output(
                model.backbone, random_input(model, min(model.backbone.context, MAX_LENGTH))
            )
            with changed_parameters(model, seed=0, zeros=True):
                _check_dependence(model)
                _check_state(model)
    except ModelBuildError:
        raise
    except CheckFailed as error:
        raise ModelBuildError(f"{name}: {error}") from None
    except PLUGIN_ERRORS as error:
        raise ModelBuildError(f"{name}: it raised {describe_error(error)}") from None


def _check_dependence(model: LanguageModel) -> None:
    """Raise CheckFailed where an output depends on other rows or, if causal, on what follows."""
    length = min(model.backbone.context, MAX_LENGTH)
    batch = min(MAX_BATCH, max(MIN_BATCH, TOKENS // length))
    cases = [Case(batch, length, training) for training in (False, True)]
    if model.backbone.causal:
        check_causal(model, cases)
    else:
        for case in cases:
            check_rows(model, case)


def _check_state(model: LanguageModel) -> None:
    """Raise CheckFailed for a state that does not continue a text, or is kept in the module."""
    sizes = [size for size in SHORT_PIECES if size < model.backbone.context]
    while sum(sizes) > model.backbone.context:
        sizes.pop(0)
    training = model.backbone.training
    try:
        check_pieces(model.eval(), sizes or [1], STATE_TOLERANCE)
    except Unsupported:
        pass
    finally:
        model.train(training)
