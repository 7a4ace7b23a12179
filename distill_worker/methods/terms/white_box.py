"""Terms on the teacher's intermediate features."""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from distill_worker.errors import ConfigError
from distill_worker.losses import at_loss, fitnet_loss, vid_loss
from distill_worker.methods.representation import FEATURES
from distill_worker.methods.terms.base import Batch, Setting, make_term
from distill_worker.methods.white_box import AT, VID, FitNet, WhiteBox


@make_term.register
def _at(method: AT, setting: Setting) -> nn.Module:
    layer = _Layer(method, setting)
    for side, shape in (("student", layer.student_shape), ("teacher", layer.teacher_shape)):
        if len(shape) != 3:
            raise ConfigError(f"method.{side}_layer: attention needs a map of channels, height, width; got {shape}")
    areas = zip(layer.student_shape[1:], layer.teacher_shape[1:], strict=True)
    if prod(min(sides) for sides in areas) == 1:
        raise ConfigError(
            f"method.student_layer: expected maps of several places, got {layer.student_shape} and the teacher's "
            f"{layer.teacher_shape}: attention to a single place has no gradient; choose an earlier layer"
        )
    return _Attention(layer)


class _Layer:
    def __init__(self, method: WhiteBox, setting: Setting) -> None:
        self.student_kind, self.teacher_kind = FEATURES + method.student_layer, FEATURES + method.teacher_layer
        self.student_shape = setting.student_shapes[self.student_kind]
        self.teacher_shape = tuple(setting.targets[self.teacher_kind].shape[1:])
        if len(self.student_shape) != len(self.teacher_shape):
            raise ConfigError(
                f"method.student_layer: expected features of {len(self.teacher_shape)} dimensions, as the teacher's "
                f"{self.teacher_shape}, got {self.student_shape}"
            )

    def regressor(self, *hidden: int) -> nn.Module:
        """From the student's channels over hidden ones to the teacher's; 1x1 convolutions for maps."""
        channels = [self.student_shape[0], *hidden, self.teacher_shape[0]]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            flat = len(self.student_shape) == 1
            layers += [nn.Linear(before, after) if flat else nn.Conv2d(before, after, 1), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Student and teacher features, the larger map averaged down to the smaller."""
        student, teacher = batch.student[self.student_kind], batch.teacher[self.teacher_kind]
        if student.ndim == 4 and student.shape[2:] != teacher.shape[2:]:
            height, width = (min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True))
            student, teacher = (adaptive_avg_pool2d(maps, (height, width)) for maps in (student, teacher))
        return student, teacher


@make_term.register(FitNet)
class _Hint(nn.Module):
    def __init__(self, method: FitNet, setting: Setting) -> None:
        super().__init__()
        self._layer = _Layer(method, setting)
        # Normalised, as in Tian et al. 2020: at the published weight a bare convolution does not train.
        channels, flat = self._layer.teacher_shape[0], len(self._layer.teacher_shape) == 1
        norm = nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)
        self.regressor = nn.Sequential(self._layer.regressor(), norm)

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self._layer.of(batch)
        return fitnet_loss(self.regressor(student), teacher)


class _Attention(nn.Module):
    def __init__(self, layer: _Layer) -> None:
        super().__init__()
        self._layer = layer

    def forward(self, batch: Batch) -> Tensor:
        return at_loss(*self._layer.of(batch))


@make_term.register(VID)
class _Variational(nn.Module):
    def __init__(self, method: VID, setting: Setting) -> None:
        super().__init__()
        self._layer = _Layer(method, setting)
        channels = self._layer.teacher_shape[0]
        self.regressor = self._layer.regressor(channels)
        # softplus(alpha) is the variance
        self.alpha = nn.Parameter(torch.full((channels,), method.initial_variance).expm1().log())

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self._layer.of(batch)
        return vid_loss(self.regressor(student), teacher, self.alpha)
