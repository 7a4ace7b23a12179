"""How the weights of the CIFAR networks begin."""

from torch import nn


def initialise(network: nn.Module) -> None:
    """He initialisation (fan-out, ReLU) for convolutions; batch normalisation starts as the identity.

    Source: He et al. 2015, arXiv 1502.01852, equation 14.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def initialise_classifier(classifier: nn.Linear) -> None:
    """A small normal (standard deviation 0.01) without bias: the first answers are close to uniform."""
    nn.init.normal_(classifier.weight, std=0.01)
    nn.init.zeros_(classifier.bias)
