"""A report as files."""

from pathlib import Path

import pytest
from PIL import Image

from distill_worker.errors import ConfigError
from distill_worker.experiments.report.comparison_page import report_of_comparison
from distill_worker.experiments.report.report import write_charts, write_report
from tests.distill_worker.experiments.report.finished import comparison


def test_charts_are_written_as_svg_and_png(tmp_path: Path) -> None:
    files = write_charts(report_of_comparison(comparison()), tmp_path / "figures")
    assert [file.name for file in files][:4] == ["accuracy.svg", "accuracy.png", "accuracy-50.svg", "accuracy-50.png"]
    assert b"var(--" not in files[0].read_bytes()
    with Image.open(files[1]) as picture:
        assert min(picture.size) > 500


def test_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = report_of_comparison(comparison(n=(50,)))
    with pytest.raises(ConfigError, match="--output"):
        write_report(report, tmp_path / "file" / "page.html")
    with pytest.raises(ConfigError, match="--figures"):
        write_charts(report, tmp_path / "file" / "figures")
