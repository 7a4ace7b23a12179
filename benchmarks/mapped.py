"""Training from mapped pixels, beside training from memory: resnet18 on images of 224 x 224, in one run.

`python -m benchmarks.mapped FOLDER` takes the store that `benchmarks.decoding` made in FOLDER. Half of 20,000 images'
batches come from one, half from the other, in turns. The pixels are in the file system's cache, as after a first pass;
they take 3 GB in memory once more.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.decoding import IMAGES, config_of
from benchmarks.figures import record
from benchmarks.training.turns import Subject, in_turns, mean_interval, ratios
from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.methods.base import LOGITS
from distill_worker.methods.single_sample import KD
from distill_worker.methods.terms import Objective, Setting
from distill_worker.runs.resolution import resolved
from distill_worker.runs.sampling.samples import dataset_of, preprocessing
from distill_worker.runs.student import placed
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.loop import train
from distill_worker.training.training_set import TrainingSet
from shared.networks import build_network

SAMPLES, CLASSES, STEPS, ROUNDS = 20_000, 10, 8, 5
_CPU = torch.device("cpu")


def loop(images: Tensor, view: Preprocessing, training: Training) -> Subject:
    """A subject that trains on these images, uint8 `[samples, channels, height, width]`."""
    numbers = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (len(images),), generator=numbers)
    logits = {LOGITS: 3 * torch.randn(len(images), CLASSES, generator=numbers)}
    data = TrainingSet(images, one_hot(labels, CLASSES).float(), labels, view, logits)
    setting = Setting(num_classes=CLASSES, steps=STEPS + 1, student_shapes={LOGITS: (CLASSES,)}, targets=logits)
    torch.manual_seed(0)
    student = placed(build_network("torchvision:resnet18", num_classes=CLASSES, in_channels=3), training, _CPU)
    objective = Objective([KD()], setting)

    def trained() -> float:
        ended: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            directory = RunDirectory(Path(folder))
            train(student, objective, data, training, directory, lambda _step, _loss: ended.append(time.perf_counter()))
        return mean_interval(ended)

    return trained


def main() -> None:
    """Read the arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=IMAGES)
    options = parser.parse_args()
    training = Training(steps=STEPS + 1, batch_size=32, threads=2, device="cpu", checkpoint_every=1000)
    config = config_of(options.folder / str(options.images))
    config = resolved(config.model_copy(update={"training": training}))
    torch.set_num_threads(config.training.threads)
    dataset = dataset_of(config)
    mapped, view = dataset.train.images[:SAMPLES], preprocessing(dataset, config)
    subjects = {"mapped": loop(mapped, view, config.training), "memory": loop(mapped.clone(), view, config.training)}
    seconds = in_turns(subjects, ROUNDS)
    found = record(
        "decoding",
        "mapped_vs_memory_step",
        ratios(seconds["mapped"], seconds["memory"]),
        unit="x",
        better="lower",
        target=1.05,
    )
    print(f"{found['name']}: {found['value']:g}; steps of {min(seconds['memory']):.2f} s")


if __name__ == "__main__":
    main()
