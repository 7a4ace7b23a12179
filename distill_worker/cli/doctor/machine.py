"""Python and the installed packages. Nothing here imports what may be broken before it is checked."""

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from distill_worker.cli.doctor.finding import Finding

_PACKAGE: Final = "tuition"
_REQUIREMENT: Final = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?\s*>=\s*([\d.]+)")
_SHOWN: Final = ("numpy", "pydantic", "httpx", "sqlalchemy")
PYTORCH: Final = "pytorch"
"""The check that all checks of a run need."""
_INSTALL_AGAIN: Final = (
    "install torch and torchvision again, together, so that both are of one build: pip install --force-reinstall torch "
    "torchvision"
)


def machine() -> Iterator[Finding]:
    """Check Python, the packages that Tuition requires, and PyTorch."""
    yield Finding.ok("python", f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    yield _packages()
    yield _pytorch()


def _packages() -> Finding:
    wrong = []
    for requirement in requires(_PACKAGE) or ():
        match = _REQUIREMENT.match(requirement)
        if match is None or "extra ==" in requirement:
            continue
        name, least = match.groups()
        try:
            installed = version(name)
        except PackageNotFoundError:
            wrong.append((name, least, "not installed"))
            continue
        if _numbers(installed) < _numbers(least):
            wrong.append((name, least, installed))
    if wrong:
        line = "; ".join(f"expected {name} {least} or later, got {got}" for name, least, got in wrong)
        return Finding.fault(
            "packages", line, f"pip install {' '.join(repr(f'{name}>={least}') for name, least, _ in wrong)}"
        )
    shown = ", ".join(f"{name} {version(name)}" for name in _SHOWN)
    return Finding.ok("packages", f"tuition {version(_PACKAGE)}, {shown}")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("+")[0])[:3])


def _pytorch() -> Finding:
    try:
        import torch

        from shared.networks.torchvision_pair import working_torchvision
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Finding.fault(PYTORCH, f"torch cannot be imported ({_line(error)})", _INSTALL_AGAIN)
    try:
        pair = f"torch {torch.__version__} and torchvision {working_torchvision()} work together"
    except ValueError as error:
        return Finding.fault(PYTORCH, _line(error), _INSTALL_AGAIN)
    return Finding.ok(PYTORCH, pair)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
