"""The configuration of a run: what its file says, and what of it can be used where a part of it is wrong."""

from typing import Any, NamedTuple

from pydantic import ValidationError

from distill_worker.cli.doctor.finding import Finding
from distill_worker.cli.stated_run import StatedRun
from distill_worker.config.explanations import wrong_keys
from distill_worker.config.load import parse_config, with_notes
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError
from distill_worker.methods import method_name

_CHECK = "configuration"
REMEDY = "correct it in {source}; distill-worker init writes a file that explains its keys"
_LEFT_OUT = "; what follows is checked without it"


class Stated(NamedTuple):
    """What a command line states."""

    findings: list[Finding]
    config: RunConfig | None
    """The run, without what is wrong; None if nothing can be made of it."""


def configuration(stated: StatedRun) -> Stated:
    """Read the configuration. Where keys are wrong, each is named, and the run is read without them."""
    remedy = REMEDY.format(source=stated.source)
    try:
        document, notes = stated.document()
    except ConfigError as error:
        return Stated([Finding.fault(_CHECK, error, remedy)], None)
    findings: list[Finding] = []
    config = None
    while config is None:
        try:
            config = parse_config(document, source=stated.source)
        except ConfigError as error:
            is_usable = _leave_out(document, error)
            findings.append(Finding.fault(_CHECK, f"{error}{_LEFT_OUT if is_usable else ''}", remedy))
            if not is_usable:
                return Stated(findings, None)
    if not findings:
        findings.append(Finding.ok(_CHECK, _in_words(stated, config)))
    config = with_notes(notes, config, lambda note: findings.append(Finding.ok("places", note)))
    return Stated(findings, config)


def _leave_out(document: dict[str, Any], error: ConfigError) -> bool:
    """Remove what is wrong from a document; whether there was something to remove."""
    if not isinstance(error.__cause__, ValidationError):
        return False
    return any([_removed(document, keys) for keys in wrong_keys(error.__cause__, RunConfig)])  # noqa: C419 - all of them


def _removed(document: Any, keys: list[str | int]) -> bool:
    """Remove the value at a place; whether it was there."""
    if not keys:
        return False
    *outer, last = keys
    for key in outer:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return False
    try:
        del document[last]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _in_words(stated: StatedRun, config: RunConfig) -> str:
    n = "all samples" if config.budget.n is None else f"n = {config.budget.n}"
    methods = " + ".join(method_name(method) for method in config.methods)
    return f"{stated.source}: method {methods}, student {config.student.network}, data {config.data.name}, {n}"
