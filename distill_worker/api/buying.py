"""`buy`: a teacher's outputs for one's own images, through the cache and the checks of `distill-worker fetch`."""

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch

from distill_worker.api.bought import Bought, Purchase
from distill_worker.api.images import Arrays, Images, data_section, folder_of, given_images
from distill_worker.api.stated import (
    DEFAULT_CACHE,
    absolute_cache,
    carried_out,
    check_address,
    config_of,
    stated_teacher,
)
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.cli.actions import agreed_purchase
from distill_worker.cli.console import say
from distill_worker.config.run_config import RunConfig
from distill_worker.data.selection import GRADIENTS, STRATEGIES
from distill_worker.errors import ConfigError
from distill_worker.methods.base import LOGITS
from distill_worker.runs import preflight
from distill_worker.runs.classes import class_order
from distill_worker.runs.resolution import resolved, with_facts_of_teacher
from distill_worker.runs.rounds import selected_samples
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import load_targets
from distill_worker.training.teacher_logits import to_teacher_logits
from shared.expectations import no_choice

_CALL: Final = "buy()"
AUTO: Final = "auto"
_AUTO: Final[Mapping[str, str]] = {"strategy": "coarse-to-fine", "features": GRADIENTS}
"""What the method `auto` selects by in one round."""
_NO_STUDENT: Final[Mapping[str, Any]] = {
    "student": {"network": "resnet8", "image_size": (16, 16)},
    "method": {"name": "kd"},
    "training": {"batch_size": 2, "steps": 1, "device": "cpu"},
}
"""A run that takes the distribution alone: its checks take the least time, and no student is trained."""


def buy(
    images: Images,
    *,
    n: int,
    url: str | None = None,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    api_key: str | None = None,
    strategy: str = AUTO,
    features: str | None = None,
    seed: int = 0,
    max_calls: int | None = None,
    yes: bool = False,
    price_per_call: float | None = None,
    image_size: tuple[int, int] | None = None,
    teacher: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Bought:
    """Buy a teacher's outputs for n of the images, and read them from the cache. What is cached is not bought again.

    `n` is the consent to spend n calls. If calls have a price, `yes` or `max_calls` is needed, too. The same call
    again buys nothing; after a kill or an interrupt, it buys the rest, and pays for nothing twice.

    Args:
        images: uint8 arrays or tensors `[n, channels, height, width]`, `[n, height, width]` or `[n, height, width,
            channels]`, with 1 or 3 channels; floats that are multiples of 1/255 from 0 to 1; a torch Dataset of
            images, or of tuples that begin with one; or the path of data that `distill-worker run --data` reads. Arrays
            are kept in a folder beside the cache.
        n: how many distinct samples to buy outputs for.
        url: of the teacher; TEACHER_URL in the environment overrides it.
        cache: the store of bought outputs: a SQLite file, or the URL of a PostgreSQL database.
        api_key: by default that of TEACHER_API_KEY, or of the file that TEACHER_API_KEY_FILE names.
        strategy: which samples: one of `distill-worker strategies` that needs no student. `auto` is `coarse-to-fine`.
        features: what the strategy compares samples by, as `budget.features`.
        seed: of the selection.
        max_calls: buy at most so many samples now; the same call again buys the next ones.
        yes: spend calls that have a price.
        price_per_call: in `teacher["currency"]`, USD by default.
        image_size: height and width that picture files of several sizes become; by default, as the teacher takes them.
        teacher: further settings of `[teacher]`, such as `{"protocol": "labelled-scores", "labels": {...}}`.
        data: further settings of `[data]` for data at a path, such as `{"unreadable": "skip"}`.
        quiet: show neither notes nor progress.

    Returns:
        The outputs, aligned with the images.

    Raises:
        ConfigError: an argument is wrong; DataError: the images cannot be read.
        PlanRefused: the quota is too small, or calls that have a price need consent; nothing was spent.
        TeacherError, CacheError: see `distill_worker.errors`.
        KeyboardInterrupt: what was paid is in the cache.
    """
    place = absolute_cache(cache)
    section = stated_teacher(url, teacher, price_per_call)
    check_address(section, n=n)
    given = given_images(images, image_size=image_size)
    budget = {"n": n, "seed": seed, **_selection(strategy, features)}
    source = {**(data or {}), **data_section(given, folder_of(place))}
    if image_size is not None and isinstance(given, Path):
        source["image_size"] = list(image_size)
    name = sha256(json.dumps([source, budget], sort_keys=True, default=str).encode()).hexdigest()[:16]
    output = {"cache": place if isinstance(place, str) else str(place), "directory": str(folder_of(place) / name)}
    document = {**_NO_STUDENT, "data": source, "teacher": section, "budget": budget, "output": output}
    consent = agreed_purchase.Consent(yes, max_calls, asks=False)
    with carried_out(_CALL, quiet=quiet, api_key=api_key):
        config = resolved(with_facts_of_teacher(config_of(document, call=_CALL), say))
        run = preflight.Run(config, lambda: selected_samples(config, keep=True))
        preflight.check_run(run)
        made, bought_now = agreed_purchase.buy(run, consent)
        digest = given.digest if isinstance(given, Arrays) else None
        purchase = Purchase(
            source | _facts_of_teacher(config),
            digest,
            section,
            budget,
            place,
            () if run.samples.held_out is None else tuple(run.samples.held_out.keys),
            tuple(run.samples.keys[row] for row in run.samples.ranked_rows),
        )
        return _held(config, run.samples, made, purchase, calls=bought_now)


def _facts_of_teacher(config: RunConfig) -> dict[str, Any]:
    """The settings of `[data]` that the teacher stated: a run on what was bought need not contact it."""
    data = config.data
    names = {"class_names": list(data.class_names)} if data.class_names else {}
    return names if data.image_size is None else {**names, "image_size": list(data.image_size)}


def _selection(strategy: str, features: str | None) -> dict[str, str]:
    """The settings of `[budget]` that select the samples. Raises `ConfigError`."""
    stated = {} if features is None else {"features": features}
    if strategy == AUTO:
        return {**_AUTO, **stated}
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy: {no_choice(strategy, [AUTO, *STRATEGIES])}")
    if STRATEGIES[strategy].needs_student:
        raise ConfigError(
            f"strategy: expected one that needs no student, got {strategy!r}; distill(network, images, url=..., n=...) "
            "buys in rounds, with the student of each round"
        )
    return {"strategy": strategy, **stated}


def _held(config: RunConfig, samples: Samples, made: Plan, purchase: Purchase, *, calls: int) -> Bought:
    """The outputs of a run's samples that are in the cache."""
    dataset = samples.dataset
    train, classes = dataset.train, len(dataset.class_names)
    with Cache(config.output.cache) as cache:
        streams = cache.kinds_of(made.teacher_id)
        holdings = [cache.holdings(streams[kind]) for kind in made.kinds if kind in streams]
        is_whole = len(holdings) == len(made.kinds)
        keys = [key for key in samples.wanted if is_whole and all(key in held for held in holdings)]
        outputs = load_targets(cache, made.teacher_id, keys, made.kinds) if keys else {}
        order = class_order(config, dataset, cache.class_names(made.teacher_id))
    logits = to_teacher_logits(
        outputs, classes, label_smoothing=config.teacher.label_smoothing, class_order=order
    ).targets.get(LOGITS)
    places: dict[bytes, list[int]] = {key: [] for key in keys}
    for position, key in enumerate(train.keys):
        if key in places:
            places[key].append(position)
    log_probabilities = torch.full((len(train.images), classes), torch.nan)
    held = torch.zeros(len(train.images), dtype=torch.bool)
    if logits is not None:
        rows = logits.log_softmax(dim=1)
        for row, key in enumerate(keys):
            log_probabilities[places[key]] = rows[row]
            held[places[key]] = True
    return Bought(
        images=train.images,
        indices=torch.tensor([places[key][0] for key in keys], dtype=torch.int64),
        log_probabilities=log_probabilities,
        held=held,
        class_names=dataset.class_names,
        teacher_id=made.teacher_id,
        output=str(next((kind for kind in made.kinds), LOGITS)),
        n=made.wanted,
        calls=calls,
        remaining=None if made.quota is None else made.quota.remaining - max(0, calls - made.reopened_samples),
        names=None if train.files is None else tuple(picture.name for picture in train.files),
        purchase=purchase,
    )
