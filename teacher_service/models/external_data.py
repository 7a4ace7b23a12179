"""The files beside an ONNX model that hold its large tensors, which `torch.onnx.export` writes as `model.onnx.data`.

They are read once, whole, so that what is hashed is what runs: onnxruntime would map them into memory, where a file
that is overwritten later changes the answers of a running teacher.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from shared.weights import WeightsError

_ONE_FILE: Final = "or save the model in one file, for example by torch.onnx.export(..., external_data=False)"
_EXTERNAL: Final = 1
_SCHEMA: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "Entry": {"key": (1, "string"), "value": (2, "string")},
    "Tensor": {"external_data": (13, "Entry"), "data_location": (14, "int32")},
    "SparseTensor": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
    "Attribute": {
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "tensors": (10, "Tensor"),
        "graphs": (11, "Graph"),
        "sparse_tensor": (22, "SparseTensor"),
        "sparse_tensors": (23, "SparseTensor"),
    },
    "Node": {"attribute": (5, "Attribute")},
    "Graph": {"node": (1, "Node"), "initializer": (5, "Tensor"), "sparse_initializer": (15, "SparseTensor")},
    "Function": {"node": (7, "Node")},
    "Model": {"graph": (7, "Graph"), "functions": (25, "Function")},
}
"""Number and type of the fields of ONNX's messages that lead to a tensor. Source: onnx/onnx.proto, version 1.17."""


def external_files(model: Path, content: bytes) -> dict[str, bytes]:
    """The external data of the model, by the location that it names, in order.

    Args:
        model: the file, beside which the locations are.
        content: its bytes.

    Raises:
        WeightsError: the content is no ONNX model, or a location is missing or outside the model's folder.
    """
    return {location: _read(model, location) for location in sorted(set(_locations(model, content)))}


def _locations(model: Path, content: bytes) -> Iterator[str]:
    from google.protobuf.message import DecodeError

    try:
        message = _message_class().FromString(content)
    except DecodeError as error:
        raise WeightsError(f"{model}: expected an ONNX model, got a file that cannot be read ({error})") from error
    return _locations_in(message)


def _locations_in(message: Any) -> Iterator[str]:
    if message.DESCRIPTOR.name == "Tensor":
        if _EXTERNAL in message.data_location:
            entries = {
                key: value
                for entry in message.external_data
                for key, value in zip(entry.key, entry.value, strict=False)
            }
            yield entries.get("location", "")
        return
    for _, inner in message.ListFields():
        for part in inner:
            yield from _locations_in(part)


def _read(model: Path, location: str) -> bytes:
    places = (PurePosixPath(location), PureWindowsPath(location))
    if not location or any(place.is_absolute() or place.drive or ".." in place.parts for place in places):
        raise WeightsError(
            f"{model}: expected external data in the model's folder, got the location {location!r}; move the file "
            f"there and save the model again, {_ONE_FILE}"
        )
    try:
        return (model.parent / location).read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{model}: expected its external data in {model.parent / location}, which cannot be read "
            f"({error.strerror}); copy the file there, {_ONE_FILE}"
        ) from error


@cache
def _message_class() -> Any:
    """The class of the message Model. Every field is declared as repeated, which also reads a single one."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="onnx_external_data.proto", package="onnx_external_data")
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number, label=types.LABEL_REPEATED)
            if kind in _SCHEMA:
                added.type, added.type_name = types.TYPE_MESSAGE, f".{file.package}.{kind}"
            else:
                added.type = types.TYPE_STRING if kind == "string" else types.TYPE_INT32
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.Model"))
