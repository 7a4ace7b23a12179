"""One purchase from its configuration: connect, make the order, plan it, and buy what is missing."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from distill_worker.buying.account import charged_under_other_names
from distill_worker.buying.fetch import NO_CALLBACKS, Callbacks, abandon, fetch
from distill_worker.buying.known_teachers import load_description, save_description, url_of
from distill_worker.buying.order import Abandoned, PurchaseOrder
from distill_worker.buying.output_choice import choose_outputs
from distill_worker.buying.plan import Plan, plan, plan_of_cached
from distill_worker.cache import Cache
from distill_worker.config.places import expanded
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError
from distill_worker.runs.classes import agreement_so_far
from distill_worker.runs.samples import Samples
from distill_worker.runs.targets import cached_kinds
from distill_worker.teachers.base import Description, Teacher
from distill_worker.teachers.http_sender import payer_of
from distill_worker.teachers.open_teacher import teacher_at


@contextmanager
def connect(
    config: RunConfig, on_retry: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Teacher, Description]]:
    """Connect to the configured teacher; TEACHER_URL and the API key come from the environment."""
    address = config.teacher
    with teacher_at(address, url=url_of(address), api_key=api_key(), on_retry=on_retry) as teacher:
        yield teacher, teacher.describe()


def api_key() -> str | None:
    """TEACHER_API_KEY, or the first line of the file that TEACHER_API_KEY_FILE names, or None; without space around it.

    Raises:
        ConfigError: the file cannot be read or has no key, or the key has characters that no HTTP header can carry.
    """
    source, key = "TEACHER_API_KEY", os.environ.get("TEACHER_API_KEY", "").strip()
    if not key and (path := os.environ.get("TEACHER_API_KEY_FILE", "").strip()):
        source, key = "TEACHER_API_KEY_FILE", _first_line(expanded(path))
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"{source}: expected printable ASCII characters without spaces, got others; copy the key again"
        )
    return key or None


def _first_line(path: Path) -> str:
    try:
        line = path.read_text(encoding="utf-8-sig").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"TEACHER_API_KEY_FILE: cannot read {path} ({error}); or set TEACHER_API_KEY") from error
    if not line:
        raise ConfigError(f"TEACHER_API_KEY_FILE: expected an API key in the first line of {path}, got an empty line")
    return line


def make_order(
    config: RunConfig,
    samples: Samples,
    teacher: Teacher,
    description: Description,
    cache: Cache,
    *,
    max_calls: int | None = None,
    abandon: Abandoned | None = None,
) -> PurchaseOrder:
    """The order for a run's samples.

    Raises:
        PlanRefused: the teacher does not sell what the run needs.
    """
    return PurchaseOrder(
        teacher,
        description,
        cache,
        samples.wanted,
        kinds=_kinds(config, samples, description, cache),
        request_size=config.teacher.request_size,
        concurrency=config.teacher.concurrency,
        max_calls=max_calls,
        abandon=abandon,
        price_per_call=config.teacher.price_per_call,
        currency=config.teacher.currency,
        charged_keys=charged_under_other_names(teacher, description, cache, samples.wanted),
    )


def buy(
    config: RunConfig,
    samples: Samples,
    order: PurchaseOrder,
    *,
    on_plan: Callable[[Plan], bool] = lambda _: False,
    callbacks: Callbacks = NO_CALLBACKS,
) -> tuple[Plan, int]:
    """Buy what is missing; the plan that was carried out and the number of samples bought.

    `on_plan` gets the plan before anything is spent and returns whether its price is the limit; it may raise.
    """
    if order.abandon is not None:
        abandon(order)
    made = plan(order)
    bound = on_plan(made)
    save_description(order.cache, config.teacher, payer_of(api_key()), order.description)
    if made.outstanding:
        callbacks = _with_agreement(callbacks, config, samples, order)
    with order.cache.buying() as buyer:
        bought = fetch(
            order,
            made,
            samples.images_by_key(),
            buyer=buyer,
            bound=bound or order.max_calls is not None,
            callbacks=callbacks,
        )
    return made, bought


def _with_agreement(callbacks: Callbacks, config: RunConfig, samples: Samples, order: PurchaseOrder) -> Callbacks:
    """These callbacks, with a check of each answer against the labels of the data."""
    agreement = agreement_so_far(config, samples, order.description, order.cache, order.kinds)
    return callbacks if agreement is None else replace(callbacks, on_answer=agreement.add)


def cached_already(config: RunConfig, samples: Samples, cache: Cache) -> tuple[Plan, Description, float] | None:
    """If all outputs are in the cache: the plan that buys nothing, the teacher's stored description and its time.

    This sends no request: whether another teacher answers now shows at the next plan or purchase.
    """
    stored = load_description(cache, config.teacher, payer_of(api_key()))
    if stored is None:
        return None
    description, seen_at = stored
    made = plan_of_cached(description, cache, samples.keys, kinds=_kinds(config, samples, description, cache))
    return None if made is None else (made, description, seen_at)


def _kinds(config: RunConfig, samples: Samples, description: Description, cache: Cache) -> tuple[str, ...]:
    """The kinds to buy. A kind that is in the cache for all samples counts as sold, even if the key lost access."""
    cached = cached_kinds(cache, description.id, samples.keys)
    return choose_outputs(config, [*description.outputs, *cached])
