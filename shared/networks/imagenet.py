"""What most published classifiers share: the classes of ImageNet-1k, and how its images are normalised."""

from typing import Final

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
IMAGENET_SIZE: Final = (224, 224)
"""Height and width of what most of these classifiers see."""


def imagenet_classes() -> tuple[str, ...]:
    """The 1000 classes in the order of the logits, as torchvision names them."""
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
