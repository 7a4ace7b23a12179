"""What to type or change if a check does not hold, by the name of the check. The error itself says what is wrong."""

from collections.abc import Mapping
from typing import Final

REMEDIES: Final[Mapping[str, str]] = {
    "device": 'set training.device to "auto" or "cpu"; to train on a GPU, install its driver and a PyTorch with CUDA',
    "precision": 'set training.precision to "auto" and training.compile to false; docs/precision.md has the rules',
    "directory": "set output.directory to another folder, which you may write to; or add --fresh to run, which "
    "moves an earlier run aside",
    "trackers": "correct output.trackers, or install the package of the tracker (docs/trackers.md)",
    "samples": "lower budget.n to what the data have, or correct the settings of [budget]",
    "self-training": "correct [self_training] as the line says, or leave the section out (docs/self-training.md)",
    "methods": "choose another method (distill-worker methods), or a larger budget.n",
    "tuning": "correct [tuning] as the line says, or leave the section out (docs/tuning.md)",
    "teacher": "set teacher.url to the first teacher, or output.directory to another folder",
    "image-shape": "set teacher.url and teacher.model to a teacher of these images, or data.image_size to the size "
    "that the teacher takes; channels must be equal",
    "datatype": "set teacher.input_name to an input of UINT8 pixels, or convert the pixels in the model on the server",
    "classes": "set teacher.url and teacher.model to a teacher of these classes, or data.path to its data",
    "class-names": "correct data.classes, which maps the names of the data to those of the teacher (docs/classes.md)",
    "outputs": "set teacher.output to an output that the teacher sells, or choose another method (docs/outputs.md)",
    "picture-rules": "set data.rules = 1 to use what was bought, or data.rules = 2 to buy again (docs/pictures.md)",
    "agreement": "check that teacher and data are of the same task; if their classes are in another order, name them "
    "(docs/classes.md)",
    "dry-pass": "choose another network (distill-worker networks), or correct your own (docs/networks.md)",
    "run": "set output.directory to another folder, or add --fresh to run, which moves the earlier run aside",
    "disk-space": "free disk space, or set output.directory to a larger disk",
    "cache": "make the cache and its folder writable, or set output.cache to another file",
    "cache-space": "free disk space, or set output.cache to a larger disk",
    "kept-answers": "correct the settings that say how answers are read (docs/vendors.md), or use fetch --abandon",
    "quota": "lower budget.n, or have the quota enlarged: the operator runs teacher-service keys grant",
    "rounds": "lower budget.n, or have the quota enlarged: the operator runs teacher-service keys grant",
    "limit": "raise --max-calls",
}
