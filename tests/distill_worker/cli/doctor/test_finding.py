"""A fault that several checks would name is named once."""

from distill_worker.cli.doctor.finding import Finding, once


def test_fault_in_the_same_words_is_referred_to() -> None:
    ok, data = Finding.ok("python", "3"), Finding.fault("data", "absent", "make it")
    same, other = Finding.fault("samples", "absent", "x"), Finding.fault("quota", "3 left", "y")
    assert list(once([ok, data, same, other])) == [
        ok,
        data,
        Finding.not_checked("samples", "data must hold first"),
        other,
    ]


def test_check_that_runs_twice_is_printed_once() -> None:
    """If it holds, both lines stay: they may say different things."""
    fault, ok = Finding.fault("cache", "read-only", "copy it"), Finding.ok("data", "same")
    assert list(once([fault, fault, ok, ok])) == [fault, ok, ok]
