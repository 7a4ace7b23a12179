"""One purchase from its configuration: connect, make the order, plan it, and buy what is missing."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from distill_worker.buying.account import former_payers
from distill_worker.buying.fetch import NO_CALLBACKS, Callbacks, fetch
from distill_worker.buying.kept_answers import reread
from distill_worker.buying.known_teachers import load_description, save_description, url_of
from distill_worker.buying.order import Abandoned, Images, PurchaseOrder
from distill_worker.buying.output_choice import choose_outputs
from distill_worker.buying.plan import Plan, total
from distill_worker.buying.planning import plan, plan_of_cached
from distill_worker.cache import Cache
from distill_worker.config.places import expanded
from distill_worker.config.run_config import RunConfig
from distill_worker.config.teacher_address import TeacherAddress, VendorAddress
from distill_worker.errors import ConfigError
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import cached_kinds
from distill_worker.teachers.base import Description, Teacher
from distill_worker.teachers.http_errors import public_url
from distill_worker.teachers.http_sender import credential_of
from distill_worker.teachers.open_teacher import teacher_at

_GIVEN_KEY: Final[ContextVar[str | None]] = ContextVar("_GIVEN_KEY", default=None)


@dataclass(frozen=True)
class Source:
    """Where outputs are bought, and where the URL and the API key come from. It holds no secrets."""

    url: str
    overridden_url: str | None
    """The URL in the configuration, if TEACHER_URL overrides it."""
    key_variables: tuple[str, ...]
    """What the API key comes from: `api_key`, the argument of a call, or an environment variable; and the variables
    that are ignored because of it."""

    @classmethod
    def of(cls, address: TeacherAddress) -> "Source":
        """The source at this address, and in the environment of this process."""
        url = url_of(address)
        keys = tuple(name for name in ("TEACHER_API_KEY", "TEACHER_API_KEY_FILE") if os.environ.get(name, "").strip())
        if _GIVEN_KEY.get() is not None:
            keys = ("api_key", *keys)
        return cls(public_url(url), None if url == address.url else public_url(address.url), keys)

    def facts(self) -> dict[str, Any]:
        """JSON-able: the URL, and the environment variables that are used."""
        url = () if self.overridden_url is None else ("TEACHER_URL",)
        return {"url": self.url, "from_environment": [*url, *self.key_variables[:1]]}

    def described(self, key_name: str | None) -> str:
        """One line for people, with the name of the API key if the teacher states it."""
        url = f" (TEACHER_URL overrides {self.overridden_url})" if self.overridden_url is not None else ""
        if not self.key_variables:
            return f"at {self.url}{url}, without an API key"
        used, *ignored = self.key_variables
        name = "" if key_name is None else f" {key_name!r}"
        overridden = "".join(f", which overrides {variable}" for variable in ignored)
        return f"at {self.url}{url}, with the API key{name} in {used}{overridden}"


@contextmanager
def connect(
    config: RunConfig, on_retry: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Teacher, Description]]:
    """Connect to the configured teacher; TEACHER_URL and the API key come from the environment.

    `on_retry` is called once for retries of one kind, however many there are.
    """
    address = config.resolved_teacher
    with teacher_at(address, url=url_of(address), api_key=api_key(), on_retry=_each_once(on_retry)) as teacher:
        yield teacher, teacher.describe()


def configured_teacher(config: RunConfig, samples: Samples, cache: Cache) -> str | None:
    """The id of a run's teacher if it follows from the configuration; None if the teacher itself states it.

    Kept answers for these samples are read first, under the present settings. Sends no request.

    Raises:
        ConfigError: the teacher's URL is invalid; CacheError: see `reread`.
    """
    address = config.resolved_teacher
    if not isinstance(address, VendorAddress):
        return None
    with teacher_at(address, url=url_of(address), api_key=None) as teacher:
        description = teacher.describe()
        teacher.use_files(samples.files_by_key())
        reread(order_of(config, samples.wanted, tuple(description.outputs), teacher, description, cache))
    return description.id


def _each_once(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say`, without the messages that differ from an earlier one in numbers alone."""
    said: set[str] = set()

    def say_if_new(message: str) -> None:
        kind = re.sub(r"\d+(\.\d+)?", "#", message)
        if kind not in said:
            said.add(kind)
            say(message)

    return say_if_new


@contextmanager
def given_api_key(key: str | None) -> Iterator[None]:
    """Let `api_key` be this key meanwhile, in this thread; None leaves it to the environment."""
    token = _GIVEN_KEY.set(key)
    try:
        yield
    finally:
        _GIVEN_KEY.reset(token)


def api_key() -> str | None:
    """The given key, or TEACHER_API_KEY, or the first line of the file that TEACHER_API_KEY_FILE names, or None.

    It is without space around it.

    Raises:
        ConfigError: the file cannot be read or has no key, or the key has characters that no HTTP header can carry.
    """
    source, key = "TEACHER_API_KEY", os.environ.get("TEACHER_API_KEY", "").strip()
    if (given := _GIVEN_KEY.get()) is not None:
        source, key = "api_key", given.strip()
    elif not key and (path := os.environ.get("TEACHER_API_KEY_FILE", "").strip()):
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
    kinds = kinds_of(config, samples, description, cache)
    teacher.use_files(samples.files_by_key())
    return order_of(config, samples.wanted, kinds, teacher, description, cache, max_calls=max_calls, abandon=abandon)


def order_of(
    config: RunConfig,
    wanted: Mapping[bytes, Images],
    kinds: tuple[str, ...],
    teacher: Teacher,
    description: Description,
    cache: Cache,
    *,
    max_calls: int | None = None,
    abandon: Abandoned | None = None,
) -> PurchaseOrder:
    """The order for these kinds of output of some samples, on the terms of the teacher's section."""
    address = config.teacher
    return PurchaseOrder(
        teacher,
        description,
        cache,
        wanted,
        kinds=kinds,
        request_size=address.request_size,
        concurrency=address.concurrency,
        max_calls=max_calls,
        abandon=abandon,
        price_per_call=address.price_per_call,
        currency=address.currency,
        former_payers=former_payers(teacher, description, cache, wanted),
        other_caches=config.output.other_caches,
    )


def buy(
    orders: Sequence[PurchaseOrder],
    images: Mapping[bytes, Images],
    *,
    address: TeacherAddress | None = None,
    on_plan: Callable[[Plan], bool] = lambda _: False,
    callbacks: Callbacks = NO_CALLBACKS,
) -> tuple[Plan, int]:
    """Buy what is missing; the plan that was carried out and the number of samples bought.

    Args:
        orders: one or more, of different samples, from one teacher into one cache, with one `max_calls` for all.
        images: all images that a purchase may hold, by sample key.
        address: where the teacher is; its description is stored under this address.
        on_plan: gets the plan of all orders before anything is spent, and returns whether its price is the limit; it
            may raise.
        callbacks: functions that are called meanwhile, with the plan of all orders.
    """
    plans = _plans(orders)
    whole = total(plans)
    cache, bought = orders[0].cache, 0
    if whole.outstanding:
        cache.check_writable()
    bound = on_plan(whole) or whole.max_calls is not None
    if cache.is_read_only:
        return whole, 0
    for made in plans:  # none may be refused after another was bought
        if not _is_left_for_later(made):
            made.check()
    if address is not None:
        save_description(cache, address, orders[0].teacher.credential, orders[0].description)
    cache.save_class_names(orders[0].description.id, orders[0].description.class_names)
    with cache.buying() as buyer:
        for order, made in zip(orders, plans, strict=True):
            if _is_left_for_later(made):
                continue
            counting = _counting_from(bought, whole, callbacks)
            bought += fetch(order, made, images, buyer=buyer, bound=bound, callbacks=counting)
    return whole, bought


def planned(orders: Sequence[PurchaseOrder]) -> Plan:
    """The plan of all orders, as `buy` would carry it out now; this spends nothing."""
    return total(_plans(orders))


def _plans(orders: Sequence[PurchaseOrder]) -> list[Plan]:
    """The plan of each order, under what the earlier ones leave of `max_calls`."""
    plans: list[Plan] = []
    left = orders[0].max_calls
    for order in orders:
        plans.append(plan(replace(order, max_calls=left)))
        left = None if left is None else left - plans[-1].most_calls
    return plans


def _is_left_for_later(plan: Plan) -> bool:
    """Whether samples are to be sent, but nothing is left of `max_calls`: a fetch would wait or fail for nothing."""
    return bool(plan.outstanding or plan.left_out) and not plan.most_calls


def _counting_from(bought: int, whole: Plan, callbacks: Callbacks) -> Callbacks:
    """Callbacks whose progress counts what earlier orders bought."""
    return replace(callbacks, progress=lambda done, _: callbacks.progress(bought + done, whole))


def cached_already(config: RunConfig, samples: Samples, cache: Cache) -> tuple[Plan, Description, float] | None:
    """If all outputs are in the cache: the plan that buys nothing, the teacher's stored description and its time.

    This sends no request: whether another teacher answers now shows at the next plan or purchase.
    """
    stored = load_description(cache, config.resolved_teacher, credential_of(api_key()))
    if stored is None:
        return None
    description, seen_at = stored
    made = plan_of_cached(description, cache, samples.bought_keys, kinds=kinds_of(config, samples, description, cache))
    return None if made is None else (made, description, seen_at)


def kinds_of(config: RunConfig, samples: Samples, description: Description, cache: Cache) -> tuple[str, ...]:
    """The kinds to buy. A kind that is in the cache for all samples counts as sold, even if the key lost access."""
    cached = cached_kinds(cache, description.id, samples.bought_keys)
    return choose_outputs(config, [*description.outputs, *cached])
