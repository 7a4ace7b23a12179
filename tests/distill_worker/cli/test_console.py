"""Progress on standard error."""

import pytest

from distill_worker.cli import console


def test_log_that_is_no_terminal_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar is drawn there once, at its end."""
    with console.progress_bar("training", 300) as move:
        move(1, "loss 2.3")
        monkeypatch.setattr(console, "_LINE_EVERY_SECONDS", 0.0)
        move(140, "loss 0.5")
        assert capsys.readouterr().err == "training: 140 of 300, loss 0.5\n"
