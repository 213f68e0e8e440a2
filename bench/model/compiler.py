"""Find the C++ compiler of this machine, and keep what it compiles in the cache."""

import os
import shutil
import sys

from bench.data.cache import cache_root

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
USER_CACHE = os.environ.get(CACHE_VARIABLE)  # read at import: torch sets it at its first use


def compiler_name() -> str:
    """Return the C++ compiler that torch calls; CXX names another one."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def missing_compiler() -> str:
    """Return what is missing where C++ cannot be compiled, or an empty string."""
    name = compiler_name()
    return "" if shutil.which(name) else f"the C++ compiler {name} (or another one, named by CXX)"


def keep_compiled_code(cache: str) -> None:
    """Let torch keep compiled code in the token cache; empty: $BENCH_CACHE, or the user's."""
    os.environ[CACHE_VARIABLE] = USER_CACHE or str(cache_root(cache) / "compiled")
