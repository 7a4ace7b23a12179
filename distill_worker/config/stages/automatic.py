"""What `auto` chooses: the method of a run that names none, and the settings beside it that the file leaves open.

The rules come from experiments (docs/results/hypotheses.md). They look at the configuration alone, so a file means the
same run on every machine, and the run holds what was chosen as if its file had stated it.
"""

from collections.abc import Collection, Mapping
from math import ceil
from typing import Any, Final

from distill_worker.data.selection import STRATEGIES
from distill_worker.errors import ConfigError

AUTO: Final = "auto"
"""The name of the method."""

_POOL: Final = "unlabelled-pool"

_METHODS: Final[Mapping[str, Any]] = {
    "method": {"name": "kd", "weight": 0.45, "by_classes": True},
    "plus": [{"name": "ckd", "beta": 0.45, "by_classes": True}],
}
"""The target of each sample and the differences between samples; together, the weight of KD."""
_IN_ONE_ROUND: Final[Mapping[str, Any]] = {"strategy": "coarse-to-fine", "features": "gradients"}
"""Which samples are bought moves the accuracy more than anything else at few calls."""
_IN_ROUNDS: Final[Mapping[str, Any]] = {
    "strategy": "k-center-softmax",
    "first": "coarse-to-fine",
    "features": "gradients",
}
"""A student of the first samples knows better than any features which images differ from those bought."""
_ROUNDS: Final = ((100, 4), (16, 2), (0, 1))
"""The least n of so many rounds. A student of fewer samples knows too little to select."""
_WEIGHT_DECAY: Final = 2e-3
_LEAST_STEPS: Final = 2500
_STEPS_PER_SAMPLE: Final = 50
"""With few samples, more steps harm: a sample is seen 1,600 times."""
_USUAL_STEPS: Final = 5000
_LEAST_EPOCHS: Final = 80
"""With many samples, more steps than the usual ones help."""
_STEPS_ON_POOL: Final = 2
"""The steps of a student of the pool, divided by those of a student of the bought samples: it has more to see."""
_UNSURE_SHARE: Final = 0.3
"""On most of a pool the ensemble is as sure as it can be, and the student learns nothing more from it."""
_BATCH_SIZE: Final = 32
"""Half of the usual one: more steps in the same time."""


def filled_in(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a run with what `auto` chooses, if it names no method, or `auto`; otherwise as it is.

    What the document states stays. `chosen_by_auto` holds the names of the settings that were chosen.

    Raises:
        ConfigError: the method `auto` has settings, or another one is added to it.
    """
    stated = document.get("method", AUTO)
    method = stated if isinstance(stated, dict) else {"name": stated}
    if method.get("name") != AUTO:
        return dict(document)
    settings = [f"method.{name}" for name in method if name != "name"] + ["plus"] * bool(document.get("plus"))
    if settings:
        raise ConfigError(f"{settings[0]}: expected no value beside the method 'auto', which chooses it")
    selection = _selection_chosen_for(document)
    rounds = _setting(document, "budget", "rounds", selection.get("rounds"))
    training = _training_chosen_for(document)
    chosen = {**_METHODS, **_data_chosen_for(document, in_rounds=isinstance(rounds, int) and rounds > 1)}
    if "steps" in training and "self_training" in chosen:
        chosen["self_training"]["member_steps"] = training["steps"]
        training["steps"] *= _STEPS_ON_POOL
    names = [name for name in chosen if name != "plus"]
    for name, values in {"training": training, "budget": selection}.items():
        names += [f"{name}.{setting}" for setting in values]
        if values and isinstance(section := document.get(name, {}), dict):
            chosen[name] = values | section
    return {**document, **chosen, "chosen_by_auto": names}


def rounds_of(n: object) -> int:
    """In how many rounds `auto` selects n samples."""
    return next((rounds for least, rounds in _ROUNDS if isinstance(n, int) and n >= least), _ROUNDS[0][1])


def hint_for_one_round(chosen_by_auto: Collection[str]) -> str:
    """What an error adds that expects one round, where `auto` chose more."""
    return "; `auto` selects in one round with budget.rounds = 1" if "budget.rounds" in chosen_by_auto else ""


def _data_chosen_for(document: Mapping[str, Any], *, in_rounds: bool) -> dict[str, Any]:
    """The track, and `[self_training]` if it has a pool: images that are not bought cost no call."""
    track = document.get("track", _POOL if _has_pool(document) else "queried")
    chosen: dict[str, Any] = {"track": track}
    if track == _POOL and _has_steps(document):
        # A member knows already what the bought samples teach. A distortion that does not suit the images does harm.
        # Whether distortion suits the bought images, nothing can judge: half of the members take it.
        policy = "auto" if in_rounds else "crop-flip"
        on_pool = {
            "start": "member",
            "policy": policy,
            "distorted_members": 2,
            "sharpening": "by-classes",
            "unsure_share": _UNSURE_SHARE,
        }
        chosen["self_training"] = on_pool
    return {name: value for name, value in chosen.items() if name not in document}


def _selection_chosen_for(document: Mapping[str, Any]) -> dict[str, Any]:
    """What selects the samples, if the file says only how many they are, and perhaps in how many rounds."""
    n = _setting(document, "budget", "n")
    is_open = all(_setting(document, "budget", name) is None for name in ("strategy", "features", "first"))
    if n is None or not is_open or not _has_steps(document):
        return {}
    stated = _setting(document, "budget", "rounds")
    rounds = rounds_of(n) if stated is None else stated
    chosen = dict(_IN_ONE_ROUND if rounds == 1 else _IN_ROUNDS)
    return chosen | {"rounds": rounds} if stated is None and rounds != 1 else chosen


def _training_chosen_for(document: Mapping[str, Any]) -> dict[str, Any]:
    """The schedule, which moves the accuracy more than the method does."""
    if not _has_steps(document):
        return {}
    chosen: dict[str, Any] = {"weight_decay": _WEIGHT_DECAY}
    if _setting(document, "training", "steps") is None:
        chosen["batch_size"] = _BATCH_SIZE
        if _setting(document, "training", "budget") is None:
            chosen["steps"] = _steps(document)
    return {name: value for name, value in chosen.items() if _setting(document, "training", name) is None}


def _steps(document: Mapping[str, Any]) -> int:
    n, batch_size = _setting(document, "budget", "n"), _setting(document, "training", "batch_size", _BATCH_SIZE)
    if isinstance(n, int) and isinstance(batch_size, int) and batch_size > 0:
        of_few, of_many = min(_STEPS_PER_SAMPLE * n, _USUAL_STEPS), ceil(_LEAST_EPOCHS * n / batch_size)
        return max(_LEAST_STEPS, of_few, of_many)
    return _LEAST_STEPS


def _has_pool(document: Mapping[str, Any]) -> bool:
    """Whether some images are not bought, and the run may train on them: it does not select by labels."""
    selects_by = (_setting(document, "budget", name) for name in ("strategy", "first"))
    needs_labels = any(
        "labels" in STRATEGIES[by].needs for by in selects_by if isinstance(by, str) and by in STRATEGIES
    )
    return _setting(document, "budget", "n") is not None and _has_steps(document) and not needs_labels


def _has_steps(document: Mapping[str, Any]) -> bool:
    """Whether the length of the training is a number of steps."""
    return bool(_setting(document, "training", "protocol", "steps") == "steps")


def _setting(document: Mapping[str, Any], section: str, name: str, default: Any = None) -> Any:
    """A stated value; the default if it is absent or, which is an error that is reported later, its section is none."""
    values = document.get(section)
    return values.get(name, default) if isinstance(values, dict) else default
