"""Reads a TOML file. What is no such file is named for what it is: a folder, another encoding, JSON, YAML."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from distill_worker.errors import ConfigError
from shared.expectations import shown

_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_UTF_32: Final = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_YAML: Final = re.compile(r"[\w.-]+:(\s|$)|---|- ")
_PLACE: Final = re.compile(r"(?P<fault>.*) \(at (?P<place>.*)\)", re.DOTALL)
_FAULTS: Final[Mapping[str, str]] = {
    "Cannot overwrite": "a key that is set already",
    "Cannot declare": "a section that is there already",
    "Cannot redefine": "a section that is there already",
    "Cannot mutate immutable": "another value for a table or list that is written in one line",
    "Invalid value": "no value of TOML, such as 5, true or text in quotes",
    "Unescaped": "a backslash in text; double it, or use single quotes",
    "Invalid hex value": "a backslash in text; double it, or use single quotes",
    "Illegal character '\\n'": "text without a closing quote",
    "Unterminated string": "text without a closing quote",
    'Expected "\'"': "text without a closing quote",
    "Expected ']' at the end": "a section without ]",
    "Expected ']]' at the end": "a section without ]]",
    "Unclosed array": "a list without ]",
    "Unclosed inline table": "a table without }",
    "Invalid statement": "no key and no section",
    "Expected '=' after a key": "a key without =",
    "Expected newline or end of document": "more than one statement in a line",
}
_FAULTS_OF_LINES: Final[Mapping[re.Pattern[str], str]] = {
    re.compile(
        r"[^#\"']*\{"
    ): "a table in braces with a line break or a last comma; write it in one line, or as [section]",
    re.compile(r"[^#\"']*=\s*[+-]?0\d"): "a number that begins with 0",
    re.compile(r".*,\s*(#.*)?$"): "a comma at the end of a statement",
}
"""Faults by what their line looks like, where the words of the parser do not tell them apart."""
_VAGUE: Final = ("Expected newline or end of document", "Invalid initial character for a key part")


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a TOML file, in UTF-8 with or without a byte-order mark. Raises `ConfigError`."""
    text = _decoded(path)
    try:
        document = parsed(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {_explained(error, text)}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not document:
        raise ConfigError(f"{path}: expected a configuration, got an empty file; examples/ has some to start from")
    return document


def parsed(text: str) -> dict[str, Any]:
    """The document in a text.

    Raises:
        TOMLDecodeError: it is no TOML; ConfigError: it is nested too deep, or has a number that is too long.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise ConfigError("expected TOML, got lists or tables that are nested too deep") from error
    except ValueError as error:
        raise ConfigError("expected TOML, got a number of too many digits") from error


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: expected a TOML file, got a folder") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration ({error.strerror or error})") from error
    if content.startswith(_UTF_32):
        raise ConfigError(f"{path}: expected TOML in UTF-8, got UTF-32; save the file as UTF-8")
    if content.startswith(_UTF_16):
        raise ConfigError(f"{path}: expected TOML in UTF-8, got UTF-16; save the file as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}: expected TOML in UTF-8, got another encoding in line {line}; save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise ConfigError(f"{path}: expected a TOML file, got bytes of zero, as in UTF-16; save it as UTF-8")
    return text if "\n" in text else text.replace("\r", "\n")  # lines may end as in old Mac OS


def _explained(error: tomllib.TOMLDecodeError, text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    if first.lstrip().startswith("{"):
        return 'expected TOML, got JSON; write section.key = "value", as in examples/digits.toml'
    if _YAML.match(first):
        return f"expected TOML, got YAML ({first.strip()!r}); write key = value, and sections as [section]"
    match = _PLACE.fullmatch(str(error))
    fault, place = (match["fault"], match["place"]) if match else (str(error), "")
    number = re.match(r"line (\d+)", place)
    line = text.split("\n")[int(number[1]) - 1].strip() if number else ""
    got = next((words for beginning, words in _FAULTS.items() if fault.startswith(beginning)), fault)
    if fault.startswith(_VAGUE):
        got = next((words for pattern, words in _FAULTS_OF_LINES.items() if pattern.match(line)), got)
    shown_line = f", in {shown(line)}" if line else ""
    return f"{place}: expected TOML, got {got}{shown_line}" if place else f"expected TOML, got a fault ({got})"
