"""Every check of the registry has a remedy."""

from distill_worker.runs.preflight import CHECKS
from distill_worker.runs.preflight.remedies import REMEDIES


def test_every_check_has_a_remedy() -> None:
    assert [check.name for check in CHECKS if check.name not in REMEDIES] == []
    assert set(REMEDIES) <= {check.name for check in CHECKS}
