"""Recognise that memory ran out, on whatever device. Imports no torch."""

PHRASES = (  # as torch and its libraries word it
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that no memory was left."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    return any(phrase in str(error).lower() for phrase in PHRASES)
