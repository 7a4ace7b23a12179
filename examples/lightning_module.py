"""A LightningModule that learns from bought outputs. Lightning is no dependency: pip install lightning.

TEACHER_API_KEY=tk_... python examples/lightning_module.py https://teacher.example.org 100
"""

import sys

import lightning
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader

from distill_worker import Bought, Objective, buy


class Student(lightning.LightningModule):  # type: ignore[misc]
    """A network with the objective of a run."""

    def __init__(self, network: nn.Module, bought: Bought) -> None:
        """Learn from these outputs."""
        super().__init__()
        self.network = network
        self.objective = Objective("kd + ckd(pairing=anchors)", outputs=bought)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _batch_index: int) -> Tensor:
        """The loss of a batch of the Dataset that `buy` returned."""
        images, log_probabilities, index = batch
        loss: Tensor = self.objective(self(images), log_probabilities, index=index)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9)


def main(url: str, n: int, epochs: int = 60) -> float:
    """Buy n outputs, train on them, and return the accuracy on the images that were not bought."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    lightning.seed_everything(0)
    bought = buy(images, url=url, n=n, cache="runs/lightning.sqlite")
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    student = Student(network, bought)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.fit(student, DataLoader(bought, 25, shuffle=True, drop_last=True))
    others = ~bought.held
    with torch.no_grad():
        predicted = student.cpu().eval()(bought.images[others].float() / 255).argmax(dim=1)
    return float((predicted == torch.from_numpy(digits.target)[others]).float().mean())


if __name__ == "__main__":
    print(f"accuracy on the images that were not bought: {main(sys.argv[1], int(sys.argv[2])):.1%}")
