"""Decode through a compiled step: kept in the cache, checked against the model before use."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from architectures.interface import State, Unsupported
from bench.config.errors import UserError
from bench.config.schema import constructor_options
from bench.data import cache
from bench.model.compiler import keep_compiled_code, missing_compiler
from bench.model.contract.perturbation import changed_parameters
from bench.model.decoding.export import compile_step, export_step
from bench.model.decoding.state_form import LEAST, state_form, state_room
from bench.model.language_model import LanguageModel
from bench.model.plugin import PLUGIN_ERRORS, describe_error
from bench.records.source import CONTRACT, source_digest
from bench.system import host

Step = Callable[[Tensor, State], tuple[Tensor, State]]  # (B, 1), state -> (B, 1, V), next state
PACKAGE, CONSTANTS = "step.pt2", "constants.pt"
REPAID_TOKENS = 50_000  # compiling takes 15 to 50 s and saves 0.2 to 0.9 ms per token
CHECKED_TOKENS = 12  # after each of three prompts
TOLERANCE = 1e-4  # of the largest logit; rounding is 1e-6


class TensorState(list[Tensor]):
    """A state as the tensors that a compiled step reads and returns."""


class CompiledStep:
    """The one-token step of a model, compiled; in its place where a text is written.

    It takes a state of the model's with `room`, and returns one that it alone reads. It computes
    with the model's own weights, which may be changed in place but not replaced.
    """

    def __init__(self, model: LanguageModel, rows: int, folder: Path) -> None:
        from torch._inductor import aoti_load_package  # slow to import

        self.model, self.rows, self.room = model, rows, state_room(model, rows)
        self.backbone, self.embedding = model.backbone, model.embedding
        self.form = state_form(model, rows, self.room)
        self.counters = self.form.counters
        self.package = aoti_load_package(str(folder / PACKAGE))
        values = torch.load(folder / CONSTANTS, weights_only=True) | _own_values(model)
        self.values = {name: values[name] for name in self.package.get_constant_fqns()}
        self.package.load_constants(self.values, check_full_update=True, user_managed=True)
        self.run = self.package.loader.run

    def __call__(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Return logits (B, 1, V) and the next state. Raise ValueError where the state is full."""
        if not isinstance(state, TensorState):
            try:
                state = TensorState(self.form.to_tensors(state))
            except Unsupported:  # the first token makes a state of another form
                return self.model(token, state)
        for i in self.counters:
            if not LEAST <= (position := state[i].shape[0]) < self.room - 1:
                if position >= LEAST:
                    raise ValueError(f"the state has room for {self.room - 1} tokens, and is full")
                return self.model(token, self.form.to_state(state))
        logits, *tensors = self.run([token, *state])
        return logits, TensorState(tensors)

    def next_logits(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits after the last token, (B, T) -> (B, V), and the next state."""
        if tokens.shape[1] > 1:
            is_own = isinstance(state, TensorState)
            return self.model.next_logits(tokens, self.form.to_state(state) if is_own else state)
        logits, state = self(tokens, state)
        return logits[:, -1], state

    def init_state(self, batch: int, length: int) -> State:
        """Return an empty state, for `length` tokens or more."""
        return self.model.init_state(batch, self.room)


def _own_values(model: LanguageModel) -> dict[str, Tensor]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return {f"model.{name}": value.detach() for name, value in named}


def check_machine(device: torch.device, precision: torch.dtype = torch.float32) -> None:
    """Raise Unsupported where no step can be compiled for a device and a precision here."""
    if device.type != "cpu":
        raise Unsupported(f"a step is compiled for a CPU, not for {device.type}")
    if precision != torch.float32:
        name = str(precision).removeprefix("torch.")
        raise Unsupported(f"a step is compiled in float32, not in {name}")
    if missing := missing_compiler():
        raise Unsupported(f"compiling needs {missing}")


def compiled_step(
    model: LanguageModel, arch: Mapping[str, Any], rows: int = 1, root: str = ""
) -> CompiledStep:
    """Return the compiled step of a float32 model on the CPU, built at its first use.

    `root`: of the cache. Raise Unsupported, with the reason, where there is none, or where it does
    not compute what the model does.
    """
    check_machine(model.embedding.weight.device)
    model.eval()
    try:
        folder = _build(model, arch, rows, root)
    except UserError as error:
        raise Unsupported(str(error)) from None
    try:
        step = CompiledStep(model, rows, folder)
        check_equal(step)
    except PLUGIN_ERRORS as error:
        if isinstance(error, Unsupported):
            raise
        raise Unsupported(f"its compiled step cannot be used: {describe_error(error)}") from None
    return step


def _build(model: LanguageModel, arch: Mapping[str, Any], rows: int, root: str) -> Path:
    """Return the folder of the compiled step, filled."""
    key = {
        "torch": torch.__version__,
        "processor": [host.processor_name(), torch.backends.cpu.get_cpu_capability()],
        "threads": torch.get_num_threads(),
        "source": source_digest(CONTRACT, str(arch["_target_"])),
        "options": constructor_options(arch),
        "shape": [rows, model.backbone.width, model.backbone.context, model.vocabulary],
    }
    folder = cache.cache_folder(root, f"decode-{type(model.backbone).__name__}", key)
    with cache.build_once(folder) as is_empty:
        if is_empty:
            keep_compiled_code(root)
            exported = export_step(model, rows)
            own = _own_values(model)
            others = {name: x for name, x in exported.constants.items() if name not in own}
            torch.save(others, folder / CONSTANTS)
            compile_step(exported, folder / PACKAGE)
            cache.write_manifest(folder, key, {})
    return folder


def check_equal(step: CompiledStep) -> None:
    """Raise Unsupported where the step's logits differ from the model's, on random tokens.

    After short, half and nearly full prompts; parameters that are all zero are set to others.
    """
    limit = step.model.backbone.context
    with changed_parameters(step.model, seed=0, zeros=True):
        for start in (LEAST, limit // 2, limit - CHECKED_TOKENS):
            share = relative_difference(step, max(1, min(start, limit - 1)))
            if not share <= TOLERANCE:
                message = f"the compiled step differs by {share:.1g} of the largest logit"
                raise Unsupported(f"{message} from the model")


@torch.no_grad()
def relative_difference(step: CompiledStep, start: int) -> float:
    """Return the largest difference of logits over tokens after a prompt of `start` tokens.

    As a share of the largest logit; it is NaN or above any tolerance where one is not finite.
    """
    generator = torch.Generator().manual_seed(start)
    model = step.model
    shape = step.rows, min(start + CHECKED_TOKENS, model.backbone.context)
    tokens = torch.randint(model.vocabulary, shape, generator=generator)
    eager, compiled = (
        model(tokens[:, :start], model.init_state(step.rows, step.room))[1] for _ in range(2)
    )
    shares = []
    for token in tokens[:, start:].split(1, dim=1):
        expected, eager = model(token, eager)
        logits, compiled = step(token, compiled)
        scale = expected.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
        shares.append((logits - expected).abs().max() / scale)
    return torch.stack(shares).max().item()
