"""`distill`: a student from a module or a network's name, by what `distill-worker run` and `train` do."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from distill_worker.api.bought import Bought, Purchase
from distill_worker.api.images import Images, LabelledImages, Labels, folder_of
from distill_worker.api.loading import Model
from distill_worker.api.run_document import CALL, RUN_FILE, data_of, document_of, placed, update, write_run_file
from distill_worker.api.stated import DEFAULT_CACHE, absolute_cache, carried_out, check_address, stated_teacher
from distill_worker.cli.actions import training
from distill_worker.cli.actions.agreed_purchase import Consent
from distill_worker.cli.console import say
from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.automatic import AUTO
from distill_worker.data.selection import STRATEGIES
from distill_worker.errors import ConfigError
from distill_worker.runs.resolution import resolved, with_facts_of_teacher
from distill_worker.runs.sampling.saved_selections import SavedSelection, SavedSelections
from distill_worker.training.directory.run_directory import REPORT, RunDirectory
from distill_worker.training.finished.student import load_student
from shared.networks.given import given, looks_trained, name_of


@dataclass(frozen=True)
class Report:
    """What a run ended with."""

    accuracy: float | None
    """The share of test images that the student classifies correctly; None without labelled test images."""
    agreement: float | None
    """The share of bought samples, which the student was not trained on, that it classifies as its teacher does; None
    if that is not measured."""
    n: int
    """The samples that it learned from, with those that were held out."""
    calls: int
    """The samples that were bought by this call; the others were in the cache."""
    directory: Path
    """The run directory."""
    page: Path | None
    """The page of the run, report.html; None if there is none."""
    warnings: tuple[str, ...]
    """Signs of failure, a sentence each."""
    result: Mapping[str, Any] = field(repr=False)
    """All facts, as in result.json."""


def distill(
    network: nn.Module | str,
    images: Images | None = None,
    *,
    bought: Bought | None = None,
    url: str | None = None,
    n: int | None = None,
    labels: Labels | None = None,
    test: LabelledImages | None = None,
    class_names: Sequence[str] = (),
    method: str | Mapping[str, Any] = AUTO,
    directory: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    image_size: tuple[int, int] | None = None,
    pretrained: bool | None = None,
    fresh: bool = False,
    api_key: str | None = None,
    max_calls: int | None = None,
    yes: bool = False,
    price_per_call: float | None = None,
    teacher: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **settings: Any,
) -> tuple[Model, Report]:
    """Train a student on bought outputs, or on those of `n` images that are bought first.

    The same call again returns the finished student; after a kill or an interrupt, it goes on from the last checkpoint.

    Args:
        network: a module, of which a copy is trained from the weights that it has; or the name of a network.
        images: as of `buy`. They may be left out beside `bought`.
        bought: what `buy` returned: the student learns from these samples, and nothing is bought.
        url: the teacher's, to buy outputs of `n` samples, which the method `auto` selects in two rounds.
        n: how many samples to buy outputs for; it is the consent to spend so many calls.
        labels: of the images, integers or names `[images]`; `test` is needed beside them. By default the student
            learns from the teacher alone, also if `images` is a Dataset that has labels. Data at a path have their own.
        test: `(images, labels)`, or a Dataset of `(image, label)`, to measure the accuracy on.
        class_names: of the labels, in their order. Without them and without labels, the classes are the teacher's.
        method: `auto`, a method's name, an expression as of `Objective`, or the section `[method]` as a dict.
        directory: of the run. By default a folder in `runs` whose name follows from the arguments and the weights of
            the module, so that each other call has its own.
        cache: the store of bought outputs; by default that of `bought`, or runs/cache.sqlite.
        seed: of the training.
        device: `auto`, `cpu` or `cuda`.
        image_size: height and width that the student sees; the teacher gets the images as they are.
        pretrained: whether the weights of the module were trained on other data; the run then says so. By default, the
            normalisations of the module show it.
        fresh: move an earlier run in the directory aside.
        api_key: as of `buy`.
        max_calls: as of `buy`.
        yes: as of `buy`.
        price_per_call: as of `buy`.
        teacher: as of `buy`.
        quiet: show neither notes nor progress.
        settings: sections of the TOML file, such as `training={"steps": 600}` or `self_training={...}`, and `track`.

    Returns:
        The student, in evaluation mode, on the CPU, with its preprocessing; and what its run ended with.

    Raises:
        ConfigError: an argument is wrong, or the network cannot be trained on these images.
        RunError: the directory holds another run.
        WorkerError: as of `buy`.
        KeyboardInterrupt: what was paid is in the cache, and the training goes on from its last checkpoint.
    """
    place = absolute_cache(cache or (DEFAULT_CACHE if bought is None else bought.purchase.cache))
    data = data_of(images, bought, labels, test, class_names, folder_of(place))
    document = document_of(data, bought, method, settings, cache=place)
    update(document, "training", seed=seed, device=device)
    update(document, "student", **({} if image_size is None else {"image_size": list(image_size)}))
    if bought is None:
        update(document, "teacher", **stated_teacher(url, teacher, price_per_call))
        update(document, "budget", **({} if n is None else {"n": n}))
    else:
        _check_nothing_to_buy(bought, url, n, teacher)
    with carried_out(CALL, quiet=quiet, api_key=api_key), _named(network, pretrained) as name:
        update(document, "student", network=name)
        config = placed(document, directory, bought)
        if bought is None:
            if config.needs_teacher:
                check_address(config.teacher.model_fields_set, n=config.budget.n)
            config = resolved(with_facts_of_teacher(config, say), fresh=fresh)
            consent = Consent.to(config, yes=yes, max_calls=max_calls, everything=False)
            ended = training.buy_and_train(config, replace(consent, asks=False), fresh=fresh)
        else:
            teacher_id = bought.teacher_id
            config = resolved(with_facts_of_teacher(config, say, teacher_id=teacher_id, asks=False), fresh=fresh)
            RunDirectory(config.output.directory).check(config.identity, fresh=fresh)
            _select(config, bought.purchase)
            ended = training.train_on_cached(config, teacher_id=teacher_id, fresh=fresh)
        path = ended.config.output.directory
        write_run_file(path, document)
        is_named = isinstance(network, str)
        command = shlex.join(["distill-worker", "run", str(path / RUN_FILE)]) if is_named else f"distill_worker.{CALL}"
        warnings = training.finish(ended, command=command)
        built_by = ended.config.student.network_to_build
        student = Model(load_student(path, trust_code=is_named, network=built_by))
    return student, _report(ended, path, warnings)


@contextmanager
def _named(network: nn.Module | str, pretrained: bool | None) -> Iterator[str]:
    """The name by which the run builds the network. Raises `ConfigError`."""
    if isinstance(network, str):
        if pretrained is not None:
            raise ConfigError("pretrained: expected no value beside the name of a network, whose weights are drawn")
        yield network
        return
    if not isinstance(network, nn.Module):
        raise ConfigError(f"network: expected a torch.nn.Module or the name of a network, got {type(network).__name__}")
    module = getattr(network, "_orig_mod", network)  # what torch.compile wrapped
    is_trained = looks_trained(module) if pretrained is None else pretrained
    name = name_of(module, pretrained=is_trained)
    with ExitStack() as stack:
        try:
            stack.enter_context(given(name, module))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        yield name


def _check_nothing_to_buy(bought: Bought, url: str | None, n: int | None, teacher: Mapping[str, Any] | None) -> None:
    for name, value in (("url", url), ("n", n), ("teacher", teacher)):
        if value is not None:
            raise ConfigError(f"{name}: expected no value beside bought, from which nothing is bought, got {value!r}")
    if len(bought) < bought.n:
        raise ConfigError(
            f"bought: expected all {bought.n} samples, got {len(bought)}; call buy again for the others, or with "
            f"n={len(bought)}, which buys nothing if its strategy is nested"
        )


def _select(config: RunConfig, purchase: Purchase) -> None:
    """Write down the bought samples as the run's selection, if its strategy would compute one. Raises `RunError`."""
    if not STRATEGIES[config.budget.strategy].is_computed:
        return
    holds_out = config.budget.holdout != 0 and not config.data.has_labels
    keys = purchase.chosen_keys if holds_out else (*purchase.held_out_keys, *purchase.chosen_keys)
    saved = SavedSelections.in_run(config)
    with saved.locked():
        if saved.are_free():
            saved.move_aside()
        if not saved.read():
            budget = config.budget
            saved.write(
                SavedSelection(
                    round=1,
                    strategy=budget.strategy,
                    seed=budget.seed,
                    of=dict(saved.identity.values),
                    keys=tuple(key.hex() for key in keys),
                )
            )


def _report(ended: training.Ended, directory: Path, warnings: Sequence[str]) -> Report:
    result, page = ended.result, directory / REPORT
    fidelity = result.get("fidelity") or {}
    return Report(
        accuracy=result["accuracy"],
        agreement=fidelity.get("agreement"),
        n=result["n"],
        calls=ended.paid,
        directory=directory,
        page=page if page.exists() else None,
        warnings=tuple(line.removeprefix("warning: ") for line in warnings),
        result=result,
    )
