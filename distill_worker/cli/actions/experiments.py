"""What `demo`, `compare`, `sweep` and `forecast` do, which train many students, and `report`, the page of each."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from distill_worker.buying.plan import total
from distill_worker.cli.actions import agreed_purchase
from distill_worker.cli.console import TERMINAL, progress_bar, say
from distill_worker.cli.tables.experiments import show_comparison, show_demo
from distill_worker.cli.tables.forecast import show_forecast
from distill_worker.cli.tables.sweeps import show_status, show_sweep
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError
from distill_worker.experiments.analyses.finished_run import config_of
from distill_worker.experiments.comparison.cells import load_comparison
from distill_worker.experiments.comparison.compare import run_comparison
from distill_worker.experiments.demo import Demo, run_demo
from distill_worker.experiments.forecast.answers import Price, answers
from distill_worker.experiments.forecast.forecast import Forecast
from distill_worker.experiments.forecast.measured_curve import curve_of
from distill_worker.experiments.forecast.nested_sizes import NestedSizes
from distill_worker.experiments.report.run_record import read_run, with_analysis, write_command
from distill_worker.experiments.results.facts_file import read_facts
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.grid import load_sweep
from distill_worker.experiments.sweep.progress import status_of
from distill_worker.experiments.sweep.purchases import Offer
from distill_worker.experiments.sweep.results.facts import facts_of_sweep, stored_grid
from distill_worker.experiments.sweep.run import run_sweep
from distill_worker.runs import purchase
from distill_worker.runs.sampling.samples import Samples
from distill_worker.training.directory.run_directory import COMMAND, REPORT
from shared.atomic_file import write_atomically
from shared.networks import runs_code

_SEEDS: Final = 3
"""Students of each size of a forecast."""


def demo(data: str, *, n: int | None, seeds: int, quota: int | None, directory: Path, as_json: bool) -> None:
    """Train a teacher, serve it behind a quota, buy n outputs, and compare students: CE, KD, CKD and auto."""
    settings = Demo.of(data, n=n, seeds=seeds, quota=quota, directory=directory)
    facts = run_demo(settings, TERMINAL)
    if as_json:
        print(json.dumps(facts))
    else:
        show_demo(facts)
    options = {"data": data, "n": settings.n, "seeds": seeds, "quota": settings.quota, "directory": directory}
    stated = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    _write_comparison_page(facts, settings.directory, shlex.join(["distill-worker", "demo", *stated]))


def compare(
    comparison_file: Path,
    settings: Mapping[str, Any],
    *,
    max_calls: int | None,
    yes: bool,
    fresh: bool,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Train many methods on the same bought samples, over several n and seeds; print the tables.

    `settings` are those of `[compare]` that the command line states; None states nothing.
    """
    comparison = load_comparison(comparison_file, settings, on_note=say)
    address, is_local = comparison.cells[0].config.teacher, comparison.compare.teacher is not None
    consent = agreed_purchase.Consent(yes or (is_local and address.price_per_call is None), max_calls)
    source = None if is_local else purchase.Source.of(address)
    facts = run_comparison(
        comparison,
        fresh=fresh,
        max_calls=max_calls,
        on_plan=lambda plan: agreed_purchase.agree(plan, consent, source=source, is_counted=True),
        display=TERMINAL,
    )
    if as_json:
        print(json.dumps(facts))
    else:
        show_comparison(facts, as_markdown=as_markdown)
    _write_comparison_page(
        facts, comparison.compare.directory, shlex.join(["distill-worker", "compare", str(comparison_file)])
    )


def sweep(
    sweep_file: str,
    settings: Mapping[str, Any],
    *,
    extend: bool,
    quick: bool,
    yes: bool,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Run a sweep, or what is left of it; print the tables of every point.

    `settings` are those of `[compare]` that the command line states; None states nothing.
    """
    facts = run_sweep(
        load_sweep(sweep_file, settings, quick=quick, on_note=say),
        extend=extend,
        on_offers=partial(_agree, agreed_purchase.Consent(yes)),
        display=replace(TERMINAL, progress_bar=partial(progress_bar, shows_remaining_time=False)),
    )
    if as_json:
        print(json.dumps(facts))
    else:
        show_sweep(facts, as_markdown=as_markdown)
    _write_sweep_page(facts)


def sweep_status(sweep_file: str, *, quick: bool, as_json: bool) -> None:
    """Print how far a sweep is."""
    facts = status_of(load_sweep(sweep_file, quick=quick))
    if as_json:
        print(json.dumps(facts))
    else:
        show_status(facts)


def forecast(
    file: Path,
    overrides: Sequence[str],
    *,
    n: int | None,
    accuracy: float | None,
    method: str | None,
    seeds: int | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Say what more calls would give, from the file of a run or from the results of a comparison."""
    price = None
    if file.suffix == ".json":
        _check_absent({"--seeds": seeds, "--set": overrides or None, "--fresh": fresh or None}, f"{file} has results")
        made = Forecast(curve_of(read_facts(file), method, source=str(file)))
    else:
        _check_absent({"--method": method}, f"{file} is the file of a run, which has one method")
        nested = NestedSizes(file, overrides, seeds=seeds or _SEEDS, on_note=say)
        address = nested.config.teacher
        if nested.config.needs_teacher and address.price_per_call is not None:
            price = Price(address.price_per_call, address.currency)
        curve, pool = nested.measured(fresh=fresh, display=TERMINAL)
        made = Forecast(curve, pool=pool)
    facts = answers(made, n=n, accuracy=accuracy, price=price)
    if as_json:
        print(json.dumps(facts))
    else:
        show_forecast(facts)


def _check_absent(options: Mapping[str, Any], reason: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise ConfigError(f"{option}: expected no value, because {reason}, got {value!r}")


def _agree(consent: agreed_purchase.Consent, offers: Sequence[Offer]) -> None:
    """Get the consent to all purchases of a sweep; those of one teacher are one plan, which its quota must pay for."""
    plans: dict[str, list[Offer]] = {}
    for offer in offers:
        plans.setdefault(offer.plan.teacher_id, []).append(offer)
    agreed_purchase.agree_to_all(
        [
            (
                replace(total([one.plan for one in same]), later=sum(one.plan.later for one in same)),
                purchase.Source.of(same[0].address),
            )
            for same in plans.values()
        ],
        consent,
        is_for_later=True,
    )


def report(
    place: Path,
    output: Path | None,
    figures: Path | None,
    *,
    file_format: str,
    cache: str | None,
    root: Path,
    path: Path | None,
    trust_code: bool,
) -> None:
    """Write the page of a run, sweep or comparison, or the same as Markdown or CSV, and its charts as files."""
    from distill_worker.experiments.report.comparison_page import read_comparison, report_of_comparison
    from distill_worker.experiments.report.report import write_charts, write_report
    from distill_worker.experiments.report.run_page import report_of_run
    from distill_worker.experiments.report.sweep_page import report_of_sweep

    if place.is_dir() and (directory := SweepDirectory(place)).grid() is not None:
        made = report_of_sweep(facts_of_sweep(stored_grid(directory), directory))
    elif place.is_dir():
        run = read_run(place)
        config = config_of(place, cache=cache, root=root, path=path)
        run = with_analysis(run, config, trust_code=trust_code, note=say)
        if run.missing:
            say(run.missing)
        made = report_of_run(run)
    else:
        made = report_of_comparison(read_comparison(place))
    if figures is not None:
        for file in write_charts(made, figures):
            print(file)
    if file_format != "html" and output is None:
        print(made.text(file_format), end="")
        return
    file = output or (place / REPORT if place.is_dir() else place.with_suffix(".html"))
    write_report(made, file, file_format)
    print(file)


def write_run_page(config: RunConfig, samples: Samples, *, command: str, paid: int, warnings: Sequence[str]) -> None:
    """End a run with its page, unless it has one. A page that cannot be written is a warning: the run is finished."""
    directory = config.output.directory

    def write() -> None:
        from distill_worker.experiments.report.report import write_report
        from distill_worker.experiments.report.run_page import report_of_run

        if not (directory / COMMAND).exists():
            address = config.teacher
            price, currency = address.price_per_call, address.currency
            write_command(
                directory, command=command, paid=paid, price_per_call=price, currency=currency, warnings=warnings
            )
        if not (directory / REPORT).exists():
            # The configuration names the code, which this process has just run; the weights file may name other code.
            is_own = runs_code(config.student.network)
            run = with_analysis(read_run(directory), config, samples=samples, trust_code=is_own, note=say)
            if run.missing:
                say(run.missing)
            write_report(report_of_run(run), directory / REPORT)

    _end_with_page(directory / REPORT, write, remedy=f"distill-worker report {shlex.quote(str(directory))} writes it")


def _write_comparison_page(facts: Mapping[str, Any], directory: Path, command: str) -> None:
    """End a comparison with its page, and with its facts in a file, from which `report` writes it again."""
    stored = directory / "comparison.json"

    def write() -> None:
        from distill_worker.experiments.report.comparison_page import report_of_comparison
        from distill_worker.experiments.report.report import write_report

        write_atomically(stored, json.dumps(facts).encode())
        write_report(report_of_comparison(facts, command), directory / REPORT)

    _end_with_page(directory / REPORT, write, remedy=f"distill-worker report {shlex.quote(str(stored))} writes it")


def _write_sweep_page(facts: Mapping[str, Any]) -> None:
    directory = Path(facts["directory"])

    def write() -> None:
        from distill_worker.experiments.report.report import write_report
        from distill_worker.experiments.report.sweep_page import report_of_sweep

        write_report(report_of_sweep(facts), directory / REPORT)

    _end_with_page(directory / REPORT, write, remedy=f"distill-worker report {shlex.quote(str(directory))} writes it")


def _end_with_page(page: Path, write: Callable[[], None], *, remedy: str) -> None:
    try:
        write()
    except Exception as error:  # whatever it is, the students are trained and stored
        say(f"warning: the page {page} was not written ({error}); nothing else is missing, and {remedy}")
        return
    say(f"page: {page}")
