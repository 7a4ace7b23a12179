"""A file of outputs, which says what made them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distill_worker.config.run_identity import RunIdentity
from distill_worker.errors import RunError
from shared.atomic_file import write_atomically

_IDENTITY: Final = "identity"
_OUTPUTS: Final = "log_probabilities"


@dataclass(frozen=True)
class OutputsFile:
    """The outputs of an ensemble, or of the assistant, of the run that `identity` describes.

    They are log-probabilities, float32 `[samples, classes]`.
    """

    path: Path
    identity: RunIdentity

    def read(self) -> Tensor | None:
        """The outputs, or None if they are not written yet.

        Raises:
            RunError: the file is damaged, or another run's.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                stored = json.loads(file.metadata()[_IDENTITY])
                outputs: Tensor = file.get_tensor(_OUTPUTS)
        except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
            raise RunError(
                f"{self.path}: cannot be read ({error}); delete {self.path.parent}, then the same command "
                "trains its members again"
            ) from error
        if (difference := self.identity.difference(stored)) is not None:
            raise RunError(
                f"{self.path}: these outputs are another run's ({difference}); choose another output.directory, or "
                "train again with --fresh"
            )
        return outputs

    def write(self, outputs: Tensor) -> None:
        """Write the outputs. Raises `RunError`."""
        content = save({_OUTPUTS: outputs}, metadata={_IDENTITY: json.dumps(self.identity.values)})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, content)
        except OSError as error:
            raise RunError(
                f"{self.path}: cannot be written ({error.strerror or error}); free some space, then the same "
                "command goes on with the trained members"
            ) from error
