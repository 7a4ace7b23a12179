"""Progress on standard error."""

import pytest
from rich.console import Console

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


def test_notebook_without_widgets_gets_lines_as_a_log_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is drawn there, and nothing warns that it is not."""
    monkeypatch.setattr(console, "notes", Console(stderr=True, highlight=False, force_jupyter=True))
    monkeypatch.setattr(console, "_LINE_EVERY_SECONDS", 0.0)
    said: list[str] = []
    monkeypatch.setattr(console, "say", said.append)
    with console.progress_bar("training", 300) as move:
        move(140, "loss 0.5")
    assert said == ["training: 140 of 300, loss 0.5"]
    assert capsys.readouterr().err == ""


def test_silence_ends_with_its_block(capsys: pytest.CaptureFixture[str]) -> None:
    with console.silence(quiet=True):
        console.say("no")
    with console.silence(quiet=False):
        console.say("yes")
    assert capsys.readouterr().err == "yes\n"
