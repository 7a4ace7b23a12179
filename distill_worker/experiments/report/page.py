"""The HTML of a page, from its template. Everything that comes from files is escaped: jinja does it."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from distill_worker.experiments.report.wording import percent


def rendered(template: str, facts: Mapping[str, Any]) -> str:
    """One self-contained HTML document."""
    return _environment().get_template(template).render(facts, tuition=version("tuition"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("distill_worker.experiments.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment
