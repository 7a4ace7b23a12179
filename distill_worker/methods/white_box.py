"""Methods that use the teacher's intermediate features. They need an API key that may see features."""

from itertools import pairwise
from math import prod
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from distill_worker.errors import ConfigError
from distill_worker.losses import at_loss, fitnet_loss, vid_loss
from distill_worker.methods.base import LOGITS, Batch, Method, Setting
from distill_worker.methods.representation import FEATURES


class _WhiteBox(Method):
    access: ClassVar = "white box"
    teacher_layer: str = Field(default="stage2", min_length=1)
    student_layer: str = Field(default="stage2", min_length=1)

    @property
    def teacher_kinds(self) -> tuple[str, ...]:
        """The logits come with the features, at no further call."""
        return (LOGITS, FEATURES + self.teacher_layer)

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The layer that is taught."""
        return (self.student_layer,)


class FitNet(_WhiteBox):
    """Hints: a learned regressor maps the student's features to the teacher's."""

    name: Literal["fitnet"] = "fitnet"
    paper: ClassVar = "Romero et al. 2015, arXiv 1412.6550; weight of Tian et al. 2020, arXiv 1910.10699"
    weight: float = Field(default=100.0, ge=0)

    def make_term(self, setting: Setting) -> nn.Module:
        """The hint at one layer."""
        return _Hint(self, setting)


class AT(_WhiteBox):
    """Attention transfer: the student's features are strong in the same places as the teacher's."""

    name: Literal["at"] = "at"
    paper: ClassVar = "Zagoruyko and Komodakis 2017, arXiv 1612.03928"
    weight: float = Field(default=1000.0, ge=0)

    def make_term(self, setting: Setting) -> nn.Module:
        """The attention at one layer."""
        layer = _Layer(self, setting)
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


class VID(_WhiteBox):
    """Variational information distillation: the teacher's features as a Gaussian around a function of the student's."""

    name: Literal["vid"] = "vid"
    paper: ClassVar = "Ahn et al. 2019, arXiv 1904.05835"
    weight: float = Field(default=1.0, ge=0)
    initial_variance: float = Field(default=5.0, gt=0)

    def make_term(self, setting: Setting) -> nn.Module:
        """The likelihood at one layer; its variances are learned with the rest."""
        return _Variational(self, setting)


class _Layer:
    def __init__(self, method: _WhiteBox, setting: Setting) -> None:
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
