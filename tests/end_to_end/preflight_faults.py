"""The faults of each check of the registry, filed under the check that catches it first."""

from tests.end_to_end.preflight_planting import (
    CONFIG,
    DRAWS_FROM_THE_SYSTEM,
    FILE,
    FULL_BATCHES_FAIL,
    HIDDEN_DRAWS,
    LATE_BUFFER,
    ONE_FOR_ALL,
    ONE_IMAGE_FAILS,
    ONE_TYPE_ALONE,
    REJECTED,
    TRAINING_FAILS,
    Fault,
    below_a_file,
    bought_before,
    chosen_with_another_teacher,
    directory_in_use,
    disagreeing,
    finished,
    foreign,
    full_disk,
    left_open,
    lost,
    network_of,
    no_compiler,
    no_leases,
    npz_file,
    unreadable,
)
from tests.end_to_end.turned_digits import turned_digits

SELF_TRAINED = {"track": "unlabelled-pool", "self_training.rounds": 1}
FAULTS: dict[str, list[Fault]] = {
    "device": [Fault("training.device: expected a CUDA device", CONFIG, {"training.device": "cuda"})],
    "precision": [
        Fault(
            "training.precision: expected auto, float32 or bfloat16 on a CPU", CONFIG, {"training.precision": "float16"}
        ),
        Fault("training.compile: expected a C++ compiler", CONFIG, {"training.compile": True}, before=no_compiler),
    ],
    "trackers": [
        Fault("output.trackers: expected", CONFIG, {"output.trackers": ["none-such"]}, commands=["run"]),
    ],
    "directory": [
        Fault("place: cannot write to it", FILE, before=below_a_file("output.directory")),
        Fault("training.steps: 2 in the directory, 3 now", FILE, {"training.steps": 3}, before=finished()),
        Fault("budget.n: 10 in the directory, 11 now", FILE, {"budget.n": 11}, before=finished(), commands=["run"]),
        Fault("another process is training in this directory", FILE, before=directory_in_use, commands=["run"]),
    ],
    "samples": [
        Fault("budget.n: expected at most 1297", CONFIG, {"budget.n": 1_000_000}),
        Fault(
            "absent.safetensors: no such weights file",
            CONFIG,
            {"budget.strategy": "k-center", "budget.features": "absent.safetensors"},
        ),
        Fault("absent.npz: expected an .npz file", FILE, {"data.name": "npz", "data.path": "absent.npz"}),
    ],
    "self-training": [
        Fault(
            "self_training: expected samples that are neither bought nor for validation, got none",
            CONFIG,
            SELF_TRAINED | {"budget.n": 40},
            npz_file(),
        ),
        Fault(
            "absent.safetensors: no such weights file",
            CONFIG,
            SELF_TRAINED | {"self_training.assistant": "absent.safetensors", "method.name": "kd"},
        ),
    ],
    "methods": [
        Fault("method: lskd needs at least 3 classes, got 2", CONFIG, {"method.name": "lskd"}, npz_file(classes=2)),
        Fault("method: rkd needs batches of at least 3", CONFIG, {"method.name": "rkd", "budget.n": 2}),
    ],
    "tuning": [
        Fault("tuning.folds: expected a sample in each fold", CONFIG, {"method.name": "kd", "tuning.folds": 11}),
        Fault(
            "tuning: a trial has 2 samples, which are those outside a fold: method: rkd needs batches of at least 3",
            CONFIG,
            {"method.name": "rkd", "budget.n": 4, "tuning.folds": 2},
        ),
    ],
    "teacher": [Fault("teacher: expected another, from which", FILE, before=chosen_with_another_teacher)],
    "image-shape": [
        Fault("data: expected images of shape [1, 8, 8]", REJECTED, before=npz_file(shape=(9, 9))),
        Fault("data: expected images of 3 channels", REJECTED, foreign=foreign(image_shape=(3, -1, -1))),
    ],
    "datatype": [
        Fault(
            "teacher.input_name: expected an input that takes images as UINT8, pixels from 0 to 255, got",
            REJECTED,
            foreign=foreign(image_datatype="FP32"),
        )
    ],
    "picture-rules": [
        Fault(
            "data.rules: expected 1 or 2, because outputs of 40 images were bought as an earlier version reads",
            REJECTED,
            before=turned_digits,
            earlier=bought_before,
        )
    ],
    "classes": [
        Fault("data: expected 12 classes", REJECTED, {"teacher.num_classes": 12}, foreign=foreign(num_classes=-1)),
        Fault("data: expected 10 classes", REJECTED, before=npz_file(classes=3)),
    ],
    "class-names": [
        Fault(
            "data: expected the classes of the teacher, 'nought', ",
            CONFIG,
            {"teacher.class_names": ["nought", *"123456789"]},
        ),
        Fault("data.classes: expected classes of the data set", CONFIG, {"data.classes.zero": "0"}),
        Fault("data.classes: expected classes of the teacher", CONFIG, {"data.classes.0": "zero"}),
    ],
    "outputs": [
        Fault("teacher.output: expected 'top_k:99'", REJECTED, {"teacher.output": "top_k:99"}),
        Fault(
            "method: rkd needs logits",
            REJECTED,
            {"method.name": "rkd"},
            foreign=foreign(tensors=("log_probabilities",)),
        ),
    ],
    "run": [Fault("teacher_id: 't' in the directory", FILE, before=finished(), commands=["run"])],
    "dry-pass": [
        Fault("student.network: a CIFAR resnet has depth", CONFIG, {"student.network": "resnet9"}),
        Fault("student.weights: cannot read", CONFIG, {"student.weights": "nowhere.pth"}),
        Fault(
            "self_training: a member of the ensemble: student.network: a CIFAR resnet has depth",
            CONFIG,
            SELF_TRAINED | {"self_training.network": "resnet9"},
        ),
        Fault("'no_such_module' cannot be imported", CONFIG, {"student.network": "no_such_module:network"}),
        Fault("KeyError: 'mine'", CONFIG, before=network_of("raise KeyError('mine')")),
        Fault(
            "student.network: expected one that takes images of shape [1, 8, 8]",
            CONFIG,
            before=network_of("return nn.Sequential(nn.Flatten(), nn.Linear(63, num_classes))"),
        ),
        Fault(
            "expected logits of shape [1, 10] for a batch of 1 and 10 classes, got [1, 11]",
            CONFIG,
            before=network_of("return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes + 1))"),
        ),
        Fault(
            "at least one trainable parameter",
            CONFIG,
            before=network_of("return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes)).requires_grad_(False)"),
        ),
        Fault(
            "got torch.float32 [1, 10, 8, 8]",
            CONFIG,
            before=network_of("return nn.Conv2d(in_channels, num_classes, 1)"),
        ),
        Fault("got others in '1.weight'; make a new network at each call", CONFIG, before=network_of(ONE_FOR_ALL)),
        Fault("got others in '1.bias'", CONFIG, before=network_of(DRAWS_FROM_THE_SYSTEM)),
        Fault("expected a positive weight", CONFIG, {"method.weight": 0, "method.label_weight": 0}),
        Fault("to give the same logits when it is loaded", CONFIG, before=network_of(HIDDEN_DRAWS), commands=("run",)),
        Fault("got '1.mask' made", CONFIG, before=network_of(LATE_BUFFER), commands=("run",)),
        Fault("got torch.float32 [10]", CONFIG, before=network_of(ONE_IMAGE_FAILS)),
        Fault("ArithmeticError: mine", CONFIG, before=network_of(TRAINING_FAILS)),
        Fault("ArithmeticError: more than 4", CONFIG, before=network_of(FULL_BATCHES_FAIL)),
        Fault(
            "student.network: expected one that computes in bfloat16 under torch.autocast, got RuntimeError",
            CONFIG,
            {"training.precision": "bfloat16"},
            before=network_of(ONE_TYPE_ALONE),
        ),
        Fault("Wrong image height", CONFIG, {"student.network": "torchvision:vit_b_32"}),
        Fault(
            "the network has no layer 'absent'",
            CONFIG,
            {"method.name": "ckd", "method.on": "features", "method.student_layer": "absent"},
        ),
        Fault(
            "method.student_layer: expected features of 3 dimensions",
            CONFIG,
            {"method.name": "at", "method.student_layer": "pooled"},
        ),
        Fault(
            "budget.strategy: expected a network that ends in a linear layer",
            CONFIG,
            {"budget.strategy": "badge", "budget.rounds": 2},
            before=network_of("return nn.Sequential(nn.Conv2d(in_channels, num_classes, 8), nn.Flatten())"),
        ),
    ],
    "disk-space": [
        Fault("MB of free disk space for the student", FILE, before=full_disk(".")),
        Fault("MB of free disk space for the members of an ensemble", FILE, SELF_TRAINED, before=full_disk(".")),
    ],
    "cache": [
        Fault("cache of bought outputs cannot be used", FILE, before=no_leases, commands=("fetch", "run")),
    ],
    "cache-space": [
        Fault("MB of free disk space for the outputs", FILE, before=full_disk("cache/cache.sqlite")),
        Fault("got 1.0 MB. Nothing was spent", FILE, before=full_disk("cache/cache.sqlite", free=1_000_000)),
    ],
    "agreement": [
        Fault("than by chance", REJECTED, {"budget.n": 80}, earlier=disagreeing),
    ],
    "kept-answers": [
        Fault("cannot be read", REJECTED, foreign=foreign(), earlier=unreadable),
        Fault("got none: 4 samples may have been charged", REJECTED, foreign=foreign(), earlier=lost),
    ],
    "limit": [Fault("--max-calls: expected at least 4", REJECTED, earlier=left_open, arguments=("--max-calls", "2"))],
    "quota": [Fault("budget.n: expected a quota for 10 calls", REJECTED, quota=3)],
    "rounds": [
        Fault(
            "budget.n: expected a quota for 10 calls in this and later rounds",
            REJECTED,
            {"budget.strategy": "entropy", "budget.rounds": 2},
            quota=7,
        )
    ],
}
"""The faults of each check, by the name of the check."""
