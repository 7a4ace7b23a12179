"""What people see while they wait."""

import pytest

from distill_worker.cli import console


def test_log_that_is_no_terminal_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar is drawn there once, at its end: nobody would see it move."""
    with console.progress_bar("training", 300) as move:
        move(1, "loss 2.3")
        monkeypatch.setattr(console, "_TOLD_EVERY_SECONDS", 0.0)
        move(140, "loss 0.5")
        assert capsys.readouterr().err == "training: 140 of 300, loss 0.5\n"
