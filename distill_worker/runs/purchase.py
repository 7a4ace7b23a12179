"""One purchase from its configuration: connect, say the price, buy what is missing."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_worker.buying import fetch as purchase
from distill_worker.buying.known_teachers import recall, remember, url_of
from distill_worker.buying.output_choice import kinds_to_buy
from distill_worker.buying.plan import Plan, plan, plan_of_held
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError
from distill_worker.runs.samples import Samples
from distill_worker.runs.targets import kinds_held
from distill_worker.teachers.base import Description, Teacher
from distill_worker.teachers.http_sender import payer_of
from distill_worker.teachers.open_teacher import teacher_at


@contextmanager
def connect(
    config: RunConfig, on_retry: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Teacher, Description]]:
    """The configured teacher and what it says of itself; TEACHER_URL and the API key come from the environment."""
    address = config.teacher
    with teacher_at(address, url=url_of(address), api_key=api_key(), on_retry=on_retry) as teacher:
        yield teacher, teacher.describe()


def api_key() -> str | None:
    """TEACHER_API_KEY, or the first line of the file that TEACHER_API_KEY_FILE names, or None.

    Raises:
        ConfigError: the file cannot be read, or the key holds what no HTTP header can carry.
    """
    source, key = "TEACHER_API_KEY", os.environ.get("TEACHER_API_KEY", "")
    if not key and (path := os.environ.get("TEACHER_API_KEY_FILE")):
        source = "TEACHER_API_KEY_FILE"
        try:
            key = next(iter(Path(path).read_text(encoding="utf-8").splitlines()), "")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: cannot read {path} ({error}); or set TEACHER_API_KEY") from error
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{source}: expected printable ASCII characters, got others; was the key pasted whole?")
    return key or None


def make_plan(
    config: RunConfig,
    samples: Samples,
    teacher: Teacher,
    description: Description,
    cache: Cache,
    *,
    max_calls: int | None = None,
    pay_again: bool = False,
) -> Plan:
    """What buying the chosen samples' outputs would take."""
    return plan(
        teacher,
        description,
        cache,
        samples.wanted,
        request_size=config.teacher.request_size,
        kinds=_kinds(config, samples, description, cache),
        max_calls=max_calls,
        pay_again=pay_again,
        price_per_call=config.teacher.price_per_call,
        currency=config.teacher.currency,
    )


def buy(
    config: RunConfig,
    samples: Samples,
    teacher: Teacher,
    description: Description,
    cache: Cache,
    *,
    on_plan: Callable[[Plan], bool] = lambda _: False,
    on_wait: Callable[[int], None] = lambda _: None,
    on_end: Callable[[int], None] = lambda _: None,
    progress: purchase.Progress = lambda _done, _plan: None,
    abandon: purchase.Abandoned | None = None,
    max_calls: int | None = None,
) -> tuple[Plan, int]:
    """Buy what is missing; the plan that was carried out and the number of samples bought.

    `on_plan` sees the price before anything is spent, and says whether it is the most to spend; it may raise.
    """
    if abandon is not None:
        kinds = _kinds(config, samples, description, cache)
        purchase.abandon(abandon, teacher, description, cache, samples.wanted, kinds=kinds)
    pay_again = abandon == "all"
    made = make_plan(config, samples, teacher, description, cache, max_calls=max_calls, pay_again=pay_again)
    bound = on_plan(made)
    remember(cache, config.teacher, teacher.payer, description)
    with cache.buying() as buyer:
        bought = purchase.fetch(
            teacher,
            description,
            cache,
            made,
            samples.images_by_key(),
            buyer=buyer,
            concurrency=config.teacher.concurrency,
            bound=bound or max_calls is not None,
            progress=progress,
            on_wait=on_wait,
            on_end=on_end,
        )
    return made, bought


def held_already(config: RunConfig, samples: Samples, cache: Cache) -> tuple[Plan, float] | None:
    """The plan that buys nothing, and when the teacher was last seen, where all that is wanted of it is held.

    Nobody is asked: whether another teacher answers there now shows when something is bought, or planned.
    """
    known = recall(cache, config.teacher, payer_of(api_key()))
    if known is None:
        return None
    description, seen_at = known
    made = plan_of_held(description, cache, samples.keys, kinds=_kinds(config, samples, description, cache))
    return None if made is None else (made, seen_at)


def _kinds(config: RunConfig, samples: Samples, description: Description, cache: Cache) -> tuple[str, ...]:
    """What is held of all samples counts as offered, also where the API key may see less now than it did."""
    held = kinds_held(cache, description.id, samples.keys)
    return kinds_to_buy(config, [*description.outputs, *held])
