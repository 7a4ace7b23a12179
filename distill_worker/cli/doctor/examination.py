"""All checks, in the order in which a newcomer can do something about them."""

from collections.abc import Iterator
from contextlib import ExitStack

from distill_worker.cache import Cache
from distill_worker.cli.contact import Contact
from distill_worker.cli.doctor.cache import check_cache
from distill_worker.cli.doctor.checks import check_run, check_sale, not_checked, not_checked_without_run
from distill_worker.cli.doctor.configuration import configuration
from distill_worker.cli.doctor.data_and_network import DATA, Material, check_data, check_network
from distill_worker.cli.doctor.finding import Finding
from distill_worker.cli.doctor.teacher import check_teacher
from distill_worker.cli.stated_run import StatedRun
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import CacheError, WorkerError
from distill_worker.runs.preflight import Run
from distill_worker.runs.resolution import resolved, with_facts_of_teacher
from distill_worker.training.directory.run_directory import ELSEWHERE

_NO_CONFIGURATION = "the configuration must be readable first"


def examine(stated: StatedRun) -> Iterator[Finding]:
    """Check a run. It goes on after a fault, as far as there is something to check."""
    findings, config = configuration(stated)
    yield from findings
    if config is None:
        yield Finding.not_checked("run, data, network, cache, teacher", _NO_CONFIGURATION)
        return
    with ExitStack() as stack:
        contact = stack.enter_context(Contact(config.resolved_teacher)) if config.needs_teacher else None
        config, problem = _completed(config, contact)
        if problem is not None:
            yield problem
        material = Material(config)
        run = Run(config, material.select, trains=True)
        yield from check_data(material)
        yield check_network(material)
        if material.lacks_classes:
            yield from not_checked_without_run("the classes are the teacher's, which cannot be reached")
        else:
            yield from check_run(run)
        if contact is None:
            yield Finding.ok("teacher", "the method uses no teacher")
        else:
            yield from check_cache(config)
            yield from check_teacher(contact)
        yield from _sale(run, contact, stack)


def _sale(run: Run, contact: Contact | None, stack: ExitStack) -> Iterator[Finding]:
    try:
        run.selected  # noqa: B018 - it is kept
    except WorkerError:
        yield from not_checked(f"{DATA} and samples must hold first")
        return
    try:
        cache = stack.enter_context(Cache(run.config.output.cache, if_absent="empty"))
    except CacheError:
        yield from not_checked("the cache must be readable first")
        return
    yield from check_sale(run, contact, cache)


def _completed(config: RunConfig, contact: Contact | None) -> tuple[RunConfig, Finding | None]:
    """The run with what its teacher says and what its directory holds; and what is wrong with that."""
    is_reached = contact is not None and contact.teacher is not None
    problem = None
    try:
        config = with_facts_of_teacher(config, asks=is_reached)
    except WorkerError as error:
        # Without the teacher's answer, it is that which is missing, and another check says so.
        if is_reached or contact is None:
            problem = Finding.fault("network", error, "name a network in student.network (distill-worker networks)")
    try:
        return resolved(config), problem
    except WorkerError as error:
        return config, Finding.fault("directory", error, f"{ELSEWHERE}, or add --fresh to run")
