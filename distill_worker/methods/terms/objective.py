"""The training objective: the label term and the weighted terms of a method and of those added to it."""

from collections.abc import Container, Sequence

import torch
from torch import Tensor, nn

from distill_worker.errors import ConfigError
from distill_worker.methods.base import Method, method_name
from distill_worker.methods.mixup import Mixing
from distill_worker.methods.pool import PseudoLabel
from distill_worker.methods.terms.base import Batch, Setting, make_label_term, make_term
from distill_worker.methods.terms.mixtures import Mixture
from distill_worker.methods.terms.mixup import draw_mixture


class Objective(nn.Module):
    """The terms of all methods of a run, with their parameters and memories.

    Its forward maps a batch to weighted terms by name, whose sum is minimised.
    """

    def __init__(self, methods: Sequence[Method], setting: Setting) -> None:
        """`methods` are the method itself, whose label term counts, and those added to it.

        Raises:
            ConfigError: all weights are 0, or a term cannot be made from the setting.
        """
        super().__init__()
        self.student_layers = tuple(dict.fromkeys(layer for method in methods for layer in method.student_layers))
        self.strong_view = any(isinstance(method, PseudoLabel) and method.strong_view for method in methods)
        self._mixing = next(
            (method for method in methods if isinstance(method, Mixing) and method.targets == "stored"), None
        )
        self._weights = {"label": methods[0].label_weight}
        self.terms = nn.ModuleDict({"label": make_label_term(methods[0], setting)})
        for method in methods:
            if (term := make_term(method, setting)) is not None:
                name = method_name(method)
                self.terms[name] = term
                self._weights[name] = method.weight_on(setting.num_classes)
        if not any(self._weights.values()):
            raise ConfigError("method: expected a positive weight of the labels or of a term, got 0 for all")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms; a term of weight 0 is not computed."""
        return self.without((), batch)

    def without(self, names: Container[str], batch: Batch) -> dict[str, Tensor]:
        """As `forward`, but for the terms of these names, which are not computed either."""
        return {
            name: self._weights[name] * term(batch)
            for name, term in self.terms.items()
            if self._weights[name] and name not in names
        }

    def mixture(self, images: Tensor, generator: torch.Generator) -> Mixture | None:
        """How this batch of images is to be mixed, or None."""
        return None if self._mixing is None else draw_mixture(self._mixing, images, generator)
