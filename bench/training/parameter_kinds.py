"""Say what every parameter is: a matrix, a kernel, a table or a vector.

Muon is for matrices: what is applied to vectors as they are. Weight decay is for all but vectors.
"""

from typing import Literal, get_args

from torch import nn

from bench.config.errors import UserError

Kind = Literal["matrix", "kernel", "table", "vector"]
RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def parameter_kinds(module: nn.Module) -> dict[str, Kind]:
    """Return the kind of each parameter by its name.

    By what the module that holds it declares in `parameter_kinds`, else by its type: weights of
    linear maps and recurrent cells are matrices, of embeddings tables; others of two axes or more
    are kernels, of one axis vectors. Raise UserError for a declared kind that is none.
    """
    kinds: dict[str, Kind] = {}
    for name, _ in module.named_parameters():
        path, _, key = name.rpartition(".")
        kinds[name] = _kind(module.get_submodule(path), key)
    return kinds


def _kind(owner: nn.Module, key: str) -> Kind:
    """Return the kind of a parameter of this module itself."""
    declared: Kind | None = getattr(owner, "parameter_kinds", {}).get(key)
    if declared is not None:
        if declared in get_args(Kind):
            return declared
        raise UserError(
            f"{type(owner).__name__}.parameter_kinds: {key} is {declared!r}; "
            f"known: {', '.join(get_args(Kind))}",
            "invalid-architecture",
        )
    if owner.get_parameter(key).dim() < 2:
        return "vector"
    if isinstance(owner, nn.Embedding):
        return "table"
    return "matrix" if isinstance(owner, (nn.Linear, *RECURRENT)) else "kernel"
