"""A degraded teacher: pruned weights, noise on the logits, or rounded logits. Its file is served like any other."""

from pathlib import Path

from distill_worker.data.corruption import prune_weights
from distill_worker.errors import ConfigError, WeightsFileError
from shared.atomic_file import write_atomically
from shared.degradation import Degradation
from shared.weights import WeightsError, load_weights, weights_bytes


def degrade_weights(
    source: Path, target: Path, *, prune: float = 0.0, degradation: Degradation | None = None, trust_code: bool = False
) -> str:
    """Write a degraded teacher, with the degradation in its metadata; the fingerprint of the file.

    Args:
        source: a weights file.
        target: the file to write; it must not exist.
        prune: the share of the weights with the smallest magnitudes that become 0.
        degradation: noise or rounding of the logits of each answer.
        trust_code: whether to run the code that the file names as its network.

    Raises:
        ConfigError: the target exists, or no degradation is given.
        WeightsFileError: the source cannot be read, or the target cannot be written.
    """
    if target.exists():
        raise ConfigError(
            f"{target}: expected a new file, got one that exists; choose another name, because answers of the old "
            "file may have been sold"
        )
    if not prune and degradation in (None, Degradation()):
        raise ConfigError("expected --prune, --noise or --decimals, got none: the teacher would not change")
    try:
        card, network, origin = load_weights(source, trust_code=trust_code)
        network.load_state_dict(prune_weights(network.state_dict(), prune))
        provenance = {**card.provenance, "degraded_from": origin, "pruned": prune}
        worse = card.model_copy(update={"degradation": degradation, "provenance": provenance})
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, weights_bytes(network, worse))
        return load_weights(target, trust_code=trust_code)[2]
    except (WeightsError, OSError) as error:
        raise WeightsFileError(str(error)) from error
