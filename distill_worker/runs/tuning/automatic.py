"""What `auto` chose for a run and why, for the result and the screen. The rules: `config/stages/automatic.py`."""

from typing import Any

from distill_worker.config.run_config import RunConfig
from distill_worker.data.selection import STRATEGIES
from distill_worker.methods import method_name
from distill_worker.runs.sampling.samples import Samples


def facts_of(config: RunConfig, samples: Samples) -> dict[str, Any]:
    """What a result says of the choice, JSON-able: each setting and why it is so; nothing if `auto` chose nothing."""
    reasons = {name: _reason(name, config, samples) for name in config.chosen_by_auto}
    return {"auto": reasons} if reasons else {}


def notes(config: RunConfig, samples: Samples) -> list[str]:
    """The same for the screen, one line a setting. `samples` may be those of the rounds that are selected so far."""
    return [f"auto: {_reason(name, config, samples)}" for name in config.chosen_by_auto]


def _reason(name: str, config: RunConfig, samples: Samples) -> str:
    classes, n = len(samples.dataset.class_names), config.budget.n or samples.n
    match name:
        case "method":
            terms = (f"{method_name(method)} of weight {method.weight_on(classes):.3g}" for method in config.methods)
            return f"{' + '.join(terms)}, for {classes} classes and {n / classes:.3g} calls a class"
        case "track" if config.track == "queried":
            return f"the track queried, because {_why_no_pool(config)}"
        case "track":
            unbought = len(samples.unbought) + samples.n - n
            return f"the track {config.track}, because {unbought:,} images are not bought"
        case "self_training":
            return "self-training, because an ensemble gives outputs to the images that are not bought, for no call"
        case "training.batch_size":
            return f"batches of {config.training.batch_size}, which give more steps in the same time than larger ones"
        case "training.steps":
            return f"{config.training.steps:,} steps, because few samples need many passes"
        case "budget.strategy" if config.budget.rounds > 1:
            return (
                f"the strategy {config.budget.strategy}, because a student knows which images differ from those bought"
            )
        case "budget.strategy" | "budget.first":
            strategy = config.budget.strategy if config.budget.rounds == 1 else f"{config.budget.first} at first"
            return f"the strategy {strategy}, because few samples go further if each shows other images"
        case "budget.rounds":
            return f"{config.budget.rounds} rounds; to buy all samples at once, set budget.rounds = 1"
        case "budget.features":
            return f"the features {config.budget.features}, because shapes tell classes apart better than pixels do"
        case _:
            return f"a weight decay of {config.training.weight_decay:g}, for a training of many passes over few samples"


def _why_no_pool(config: RunConfig) -> str:
    if config.training.protocol != "steps":
        return f"the protocol {config.training.protocol} counts epochs over the bought samples"
    by_labels = [name for name in (config.budget.strategy, config.budget.first) if "labels" in STRATEGIES[name].needs]
    if by_labels:
        return f"{by_labels[0]} selects by the labels of all images, which an unlabelled pool lacks"
    return "the file buys all images"
