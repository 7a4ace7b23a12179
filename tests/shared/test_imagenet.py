"""The values that most published classifiers share are those of torchvision's own weights."""

from torchvision.models import MobileNet_V3_Small_Weights

from shared.networks.imagenet import IMAGENET_MEAN, IMAGENET_SIZE, IMAGENET_STD, imagenet_classes


def test_values_are_those_of_torchvisions_weights() -> None:
    weights = MobileNet_V3_Small_Weights.IMAGENET1K_V1
    transforms = weights.transforms()
    assert (list(IMAGENET_MEAN), list(IMAGENET_STD)) == (transforms.mean, transforms.std)
    assert tuple(transforms.crop_size * 2) == IMAGENET_SIZE
    assert list(imagenet_classes()) == weights.meta["categories"]
    assert len(set(imagenet_classes())) == 1000
