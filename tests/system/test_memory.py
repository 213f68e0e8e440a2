"""Out of memory is recognised on every device."""

import pytest
import torch

from bench.system.memory import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    ],
    ids=str,
)
def test_what_says_that_no_memory_was_left(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_other_errors() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
