"""torchdistill's own training, by its `DistillationBox`, as its example for image classification drives it."""

import logging
import time
from typing import Any

import torch
from torch.utils.data import RandomSampler
from torchdistill.common.constant import def_logger
from torchdistill.core.distillation import get_distillation_box
from torchdistill.misc.log import MetricLogger, SmoothedValue

from benchmarks.training.cifar_images import CifarImages
from benchmarks.training.plain_loop import LABEL_WEIGHT, TEMPERATURE, WORKERS
from benchmarks.training.students import BATCH, LEARNING_RATE, MOMENTUM, TEACHER, WEIGHT_DECAY, network
from benchmarks.training.turns import Subject, mean_interval

_NEVER = 10**9
"""Steps between two lines of the log."""


def torchdistill_loop(steps: int) -> Subject:
    """An epoch of `steps` steps, timed from the end of one that goes before: the workers' start does not count."""
    def_logger.setLevel(logging.WARNING)
    images = CifarImages((steps + 1) * BATCH)
    device = torch.device("cpu")
    box = get_distillation_box(network(TEACHER).eval(), network(), {"train": images}, _config(), device, None, False, 1)

    def epoch() -> float:
        box.pre_epoch_process(epoch=0)
        metrics = MetricLogger(delimiter="  ")
        metrics.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        ended = []
        for inputs, labels, extra in metrics.log_every(box.train_data_loader, _NEVER, "Epoch"):
            loss = box.forward_process(inputs.to(device), labels.to(device), extra)
            box.post_forward_process(loss=loss)
            metrics.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
            ended.append(time.perf_counter())
        box.post_epoch_process()
        return mean_interval(ended)

    return epoch


def _config() -> dict[str, Any]:
    """The sections that its YAML files have under `train`: knowledge distillation with the outputs of both networks."""
    paths = {f"{side}_module_path": "." for side in ("student", "teacher")}
    outputs = {f"{side}_module_io": "output" for side in ("student", "teacher")}
    loss = {**paths, **outputs, "temperature": TEMPERATURE, "alpha": LABEL_WEIGHT, "reduction": "batchmean"}
    sgd = {"lr": LEARNING_RATE, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}
    return {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": BATCH, "num_workers": WORKERS, "drop_last": True},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": sgd},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": 1.0}}},
        },
    }
