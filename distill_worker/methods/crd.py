"""Contrastive representation distillation as a method."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from distill_worker.methods.representation import OnRepresentation


class CRD(OnRepresentation):
    """Contrastive representation distillation: a sample's two embeddings against pairs of different samples."""

    name: Literal["crd"] = "crd"
    paper: ClassVar = "Tian et al. 2020, arXiv 1910.10699"
    needs_identity: ClassVar = True
    weight: float = Field(default=0.8, ge=0)
    """The weight of the term."""
    temperature: float = Field(default=0.07, gt=0)
    """Similarities of embeddings are divided by it."""
    dims: int = Field(default=128, ge=2)
    """Of the embedding."""
    negatives: int = Field(default=16384, ge=1)
    """Drawn a sample, with repetition: with few samples many are the same."""
    momentum: float = Field(default=0.5, ge=0, lt=1)
    """The share of a memory's row that stays when its sample comes up."""

    def softened(self, _temperature: float) -> Self:
        """Itself: its temperature is of the similarities between embeddings, not of the outputs."""
        return self
