"""The identity of a network that is handed over in Python: what it computes depends on its tensors and on its code.

The digest covers the network's structure, the plain values of its layers' attributes, and the source of the layers'
classes, but for installed packages. Not covered: functions that a class calls, and files that it reads.
"""

import inspect
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import CodeType, FunctionType
from typing import Final

from torch import nn

from shared.networks.foreign import is_installed

_DIGEST_LENGTH: Final = 16
_PLAIN: Final = (bool, int, float, str, bytes, type(None))
_NO_MATTER: Final = ("training",)


def network_digest(network: nn.Module) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over all of this."""
    digest = sha256()
    for fact in (*_structure(network), *_code(network)):
        digest.update(f"{len(fact)}:{fact}".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:_DIGEST_LENGTH]


def _structure(network: nn.Module) -> Iterator[str]:
    for name, layer in network.named_modules():
        plain = {key: value for key, value in sorted(vars(layer).items()) if _is_plain(key, value)}
        yield f"{name} {type(layer).__qualname__} {layer.extra_repr()} {plain}"


def _is_plain(name: str, value: object) -> bool:
    if name.startswith("_") or name in _NO_MATTER:
        return False
    return isinstance(value, _PLAIN) or (
        isinstance(value, tuple | list) and all(isinstance(one, _PLAIN) for one in value)
    )


def _code(network: nn.Module) -> Iterator[str]:
    """The source of each class of the user's own among the layers and what they inherit from; or its bytecode."""
    classes = {base for layer in network.modules() for base in type(layer).__mro__}
    for one in sorted(classes, key=lambda each: (each.__module__, each.__qualname__)):
        if not _is_installed(one):
            yield f"{one.__qualname__} {_source(one)}"


def _is_installed(one: type) -> bool:
    try:
        file = inspect.getsourcefile(one)
    except TypeError:  # built into Python, or a class of a notebook, which has no file
        return one.__module__ == "builtins"
    except OSError:
        return False
    return file is not None and is_installed(Path(file))


def _source(one: type) -> str:
    try:
        return inspect.getsource(one)
    except (OSError, TypeError):  # typed at a prompt
        functions = {name: value for name, value in vars(one).items() if isinstance(value, FunctionType)}
        return "".join(f"{name} {_bytecode(function.__code__)}" for name, function in sorted(functions.items()))


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
