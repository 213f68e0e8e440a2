"""Check what every architecture must satisfy.

In a test file of your own:

    MODEL = ModelUnderTest.read("conf/arch/mine.yaml")

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_contract(check):
        result = run_check(check, MODEL)
        assert result.status != "failed", result.sentence()
"""

# each registers its checks
from bench.model.contract import cost_checks, forward_checks, training_checks  # noqa: F401
from bench.model.contract.before_training import check_before_training
from bench.model.contract.checks import CHECKS, Check, CheckResult, ModelUnderTest, run_check
from bench.model.contract.measured import check_decode, check_prefill

__all__ = [
    "CHECKS",
    "Check",
    "CheckResult",
    "ModelUnderTest",
    "check_before_training",
    "check_decode",
    "check_prefill",
    "run_check",
]
