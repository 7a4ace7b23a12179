"""The format `onnx`: the graph for ONNX runtimes, which the teacher service serves (the extra `onnx`).

The card is the metadata property `tuition`, where the service reads it.
"""

from importlib.util import find_spec
from typing import Final, cast

import torch

from distill_worker.errors import ConfigError
from distill_worker.training.finished.student import FinishedStudent
from distill_worker.training.finished.tracing import INPUT, OUTPUT, Run, traced
from shared.weights import CARD

OPSET: Final = 18
"""The version of ONNX's operators: the one that PyTorch's exporter writes itself, without a conversion."""
_PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")


class OnnxFormat:
    """The format `onnx`."""

    name = "onnx"
    suffix = ".onnx"
    description = f"an ONNX model (opset {OPSET})"

    def check_possible(self) -> None:
        """Check that the packages are installed. Raises `ConfigError`."""
        if missing := [package for package in _PACKAGES if find_spec(package) is None]:
            raise ConfigError(
                f"--format onnx: expected the packages {', '.join(_PACKAGES)}, got an installation without "
                f"{' and '.join(missing)}; install tuition with its `onnx` extra. Nothing was written"
            )

    def content(self, student: FinishedStudent) -> bytes:
        """The file. Raises what PyTorch's exporter raises."""
        exported = torch.onnx.export(
            traced(student),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
        program = cast("torch.onnx.ONNXProgram", exported)  # None only where the exporter writes the file itself
        program.model.metadata_props[CARD] = student.card.model_dump_json()
        content: bytes = program.model_proto.SerializeToString()
        return content

    def opened(self, content: bytes, student: FinishedStudent) -> Run:  # noqa: ARG002 - the file holds its network
        """The file in onnxruntime, on the CPU. Raises what onnxruntime raises."""
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return lambda inputs: torch.from_numpy(session.run([OUTPUT], {INPUT: inputs.numpy()})[0])
