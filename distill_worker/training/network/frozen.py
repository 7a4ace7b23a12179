"""Frozen parts of a network: what its author excluded from training stays as it is.

A parameter without `requires_grad` is not trained. A part without a trainable parameter that its author also put into
evaluation mode stays in it: its dropout is off, and its batch normalisation keeps its statistics. A network that comes
whole in evaluation mode, as one with loaded weights may, is trained as if it had come in training mode.
"""

from torch import nn


def check_trainable(network: nn.Module) -> None:
    """Check that training can change the network.

    Raises:
        ValueError: no parameter of it is trainable.
    """
    parameters = list(network.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(
            f"network: expected at least one trainable parameter, got {len(parameters)} that are all frozen "
            "(requires_grad is False)"
        )


def frozen_parts(network: nn.Module) -> list[nn.Module]:
    """The parts that are to stay in evaluation mode, by the modes that the author left."""
    if not network.training:
        return []
    return [module for module in network.modules() if not module.training and _is_frozen(module)]


def set_training_mode(network: nn.Module, frozen: list[nn.Module]) -> None:
    """Put the network into training mode, without its frozen parts."""
    network.train()
    for part in frozen:
        part.eval()


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
