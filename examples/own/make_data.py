"""Write patches.npz beside this file: 16x16 patches of the two photographs in scikit-learn, labelled by photograph.

It is an example of your own data. An .npz file needs only uint8 images and integer labels:
train_images [samples, height, width, channels], train_labels [samples], and the same for test.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_images

SIZE = 16
PATCHES = 1500


def main() -> None:
    """Write training patches of the left two thirds of each photograph, and test patches of the rest."""
    photographs = load_sample_images().images
    edge = photographs[0].shape[1] * 2 // 3
    parts = {"train": (0, edge, PATCHES), "test": (edge, photographs[0].shape[1], PATCHES // 3)}
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for name, (left, right, count) in parts.items():
        labels = np.arange(count) % len(photographs)
        tops = random.integers(0, photographs[0].shape[0] - SIZE, count)
        lefts = random.integers(left, right - SIZE, count)
        patches = [
            photographs[label][top : top + SIZE, start : start + SIZE]
            for label, top, start in zip(labels, tops, lefts, strict=True)
        ]
        arrays |= {f"{name}_images": np.stack(patches), f"{name}_labels": labels}
    target = Path(__file__).with_name("patches.npz")
    np.savez_compressed(target, allow_pickle=False, class_names=np.array(["temple", "flower"]), **arrays)
    print(target)


if __name__ == "__main__":
    main()
