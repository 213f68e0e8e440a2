"""What every architecture has to keep: checks that say what was done, what was expected, what came, and how to mend it.

In a test file of your own:

    SUBJECT = Subject.read("conf/arch/mine.yaml")

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_promise(check):
        finding = examine(check, SUBJECT)
        assert finding.status != "broken", finding.sentence()
"""

from bench.contract import forward_checks, training_checks
from bench.contract.checks import CHECKS, Check, CheckResult, ModelUnderTest, run_check
from bench.contract.probes import check_before_training

__all__ = [
    "CHECKS",
    "Check",
    "CheckResult",
    "ModelUnderTest",
    "check_before_training",
    "forward_checks",
    "run_check",
    "training_checks",
]
