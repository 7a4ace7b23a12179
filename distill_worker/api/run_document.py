"""The document of a run that `distill` states: its sections, its directory, and its file.

Invariant: each setting is stated once. What is stated twice, as an argument and in a section, is an error.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from distill_worker.api.bought import Bought
from distill_worker.api.images import (
    Arrays,
    Images,
    LabelledImages,
    Labels,
    data_section,
    given_images,
    labelled_arrays,
    with_labels,
)
from distill_worker.api.stated import absolute, config_of
from distill_worker.cache.database.engine import shown
from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.automatic import AUTO
from distill_worker.errors import ConfigError, RunError
from distill_worker.experiments.report.toml_text import toml
from distill_worker.methods.expression import sections
from distill_worker.teachers.http_errors import public_url
from shared.atomic_file import write_atomically
from shared.networks.given import given_digest, is_given, weights_digest

CALL: Final = "distill()"
RUN_FILE: Final = "run.toml"
"""The run as a file, in its directory: the command line goes on with it."""


def data_of(
    images: Images | None,
    bought: Bought | None,
    labels: Labels | None,
    test: LabelledImages | None,
    class_names: Sequence[str],
    folder: Path,
) -> dict[str, Any]:
    """The section `[data]`. Raises `ConfigError` or `DataError`."""
    has_own = labels is not None or test is not None
    if images is None and bought is not None and not has_own:
        return {**bought.purchase.data}
    source: Path | Arrays
    if images is not None:
        source = given_images(images)
    elif bought is not None:
        source = Arrays(bought.images.numpy())
    else:
        raise ConfigError("images: expected images, or what buy returned as bought, got neither")
    if isinstance(source, Path):
        if has_own:
            raise ConfigError(
                "labels and test: expected no value beside the path of data, which have their own, got some"
            )
        section = data_section(source, folder)
        if bought is not None and section["path"] != bought.purchase.data["path"]:
            raise ConfigError(
                f"images: expected {bought.purchase.data['path']}, whose outputs were bought, got {section['path']}"
            )
        return section if bought is None else {**bought.purchase.data}
    if bought is not None and images is not None and source.digest != bought.purchase.digest:
        raise ConfigError("images: expected those whose outputs were bought, got others; leave images out")
    if labels is not None and test is None:
        raise ConfigError(
            "test: expected (images, labels) to measure the accuracy on beside labels, got none; hold out some of your "
            "images, or leave labels out: the student is then compared with its teacher"
        )
    arrays = replace(source, class_names=tuple(class_names))
    if labels is not None:
        arrays = with_labels(arrays, labels)
    if test is not None:
        test_images, test_labels = labelled_arrays(test, name="test")
        arrays = replace(arrays, test_images=test_images, test_labels=test_labels)
    section = data_section(arrays, folder)
    known = () if bought is None else bought.class_names
    if labels is None and known and not class_names:
        section["class_names"] = list(known)
    return section


def document_of(
    data: Mapping[str, Any],
    bought: Bought | None,
    method: str | Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    cache: Path | str,
) -> dict[str, Any]:
    """The document, but for what the caller adds with `update`. Raises `ConfigError`."""
    document: dict[str, Any] = {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in settings.items()
    }
    update(document, "data", **data)
    update(document, "output", cache=str(cache))
    if bought is not None:
        update(document, "teacher", **bought.purchase.teacher)
        update(document, "budget", **bought.purchase.budget)
    stated = [{"name": AUTO}] if method == AUTO else [dict(method)] if isinstance(method, Mapping) else sections(method)
    update(document, "method", **stated[0])
    if len(stated) > 1:
        document["plus"] = stated[1:]
    return document


def update(document: dict[str, Any], section: str, **values: Any) -> None:
    """Set values of a section.

    Raises:
        ConfigError: the settings state one of them already, or the section is none.
    """
    stated = document.setdefault(section, {})
    if not isinstance(stated, dict):
        raise ConfigError(f"{section}: expected a dict of settings, got {type(stated).__name__}")
    for name, value in values.items():
        if stated.setdefault(name, value) != value:
            raise ConfigError(f"{section}: expected {name} once, got {value!r} and {stated[name]!r}")


def placed(document: dict[str, Any], directory: str | os.PathLike[str] | None, bought: Bought | None) -> RunConfig:
    """The run, in the directory that is given, or in one of its own."""
    if directory is not None:
        update(document, "output", directory=str(absolute(directory)))
        return config_of(document, call=CALL)
    if "directory" in document["output"]:
        return config_of(document, call=CALL)
    config = config_of(document, call=CALL)
    identity = {name: value for name, value in config.identity.values.items() if name != "training"}
    training_values = config.training.model_dump(mode="json", exclude={"precision", "memory_format"})
    teacher = [config.teacher.url, config.teacher.model] if bought is None else [bought.teacher_id]
    name = config.student.network_to_build
    weights = [given_digest(name), weights_digest(name)] if is_given(name) else []
    facts = [identity, training_values, document["data"], weights, teacher]
    digest = sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]
    n = "all" if config.budget.n is None else config.budget.n
    plain = config.student.network.rpartition(":")[2].rpartition("/")[2]
    update(document, "output", directory=str(absolute(Path("runs") / f"{plain}-{n}-{digest}")))
    return config_of(document, call=CALL)


def write_run_file(directory: Path, document: Mapping[str, Any]) -> None:
    """The run as a TOML file, without the passwords that URLs may hold. Raises `RunError`."""
    stated = {name: dict(value) if isinstance(value, Mapping) else value for name, value in document.items()}
    if (url := stated.get("teacher", {}).get("url")) is not None:
        stated["teacher"]["url"] = public_url(url)
    if "://" in (cache := stated["output"]["cache"]):
        stated["output"]["cache"] = shown(cache)
    try:
        write_atomically(directory / RUN_FILE, toml(json.loads(json.dumps(stated, default=str))).encode())
    except OSError as error:
        raise RunError(f"{directory / RUN_FILE}: cannot be written ({error.strerror or error})") from error
