"""A worse teacher from a good one: pruned weights, noise on its outputs, rounding. The file is served as any other."""

from pathlib import Path

from distill_worker.data.corruption import prune_weights
from distill_worker.errors import ConfigError, WorkerError
from shared.atomic_file import write_atomically
from shared.degradation import Degradation
from shared.weights import WeightsError, load_weights, weights_bytes


def degrade_weights(
    source: Path, target: Path, *, prune: float = 0.0, degradation: Degradation | None = None, trust_code: bool = False
) -> str:
    """Write the worse teacher, which says of itself how it was made; the fingerprint of the file.

    Args:
        source: a weights file.
        target: another one, which must not exist.
        prune: the share of the weights with the smallest magnitudes that become 0.
        degradation: what is done to its logits whenever it answers.
        trust_code: whether the file may name a network of its own.

    Raises:
        ConfigError: the target exists, or nothing would be worse.
        WorkerError: the source cannot be read, or the target not be written.
    """
    if target.exists():
        raise ConfigError(
            f"{target}: expected a file that is not there yet; what answers were bought from may be in it"
        )
    if not prune and degradation in (None, Degradation()):
        raise ConfigError("expected --prune, --noise or --decimals, got none: the teacher would be the same")
    try:
        card, network, origin = load_weights(source, trust_code=trust_code)
        network.load_state_dict(prune_weights(network.state_dict(), prune))
        provenance = {**card.provenance, "degraded_from": origin, "pruned": prune}
        worse = card.model_copy(update={"degradation": degradation, "provenance": provenance})
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, weights_bytes(network, worse))
        return load_weights(target, trust_code=trust_code)[2]
    except (WeightsError, OSError) as error:
        raise WorkerError(str(error)) from error
