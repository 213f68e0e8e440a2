"""A worker whose wall clock runs a tenth too fast, which calibration has to detect."""

import time
from types import SimpleNamespace

from bench.performance import timing, worker

FAST = SimpleNamespace(
    perf_counter=lambda: 1.1 * time.perf_counter(), process_time=time.process_time
)

if __name__ == "__main__":
    timing.time = FAST  # type: ignore[assignment]
    worker.main()
