"""Every file that people take for a configuration is read, or named for what it is."""

import json
from pathlib import Path

import pytest

from distill_worker.config.load import load_config
from distill_worker.config.toml_file import read_toml
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import load_comparison

TEXT = 'data.name = "digits"\n[student]\n\tnetwork = "resnet8"\n'
DOCUMENT = {"data": {"name": "digits"}, "student": {"network": "resnet8"}}


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
        f"# é\n{TEXT}".encode(),
        TEXT.replace("\n", "\r").encode(),
    ],
    ids=["plain", "byte-order mark", "Windows", "Windows with a mark", "comment", "old Mac OS"],
)
def test_toml_of_any_editor_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    assert read_toml(tmp_path / "run.toml") == DOCUMENT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode("utf-16"), "expected TOML in UTF-8, got UTF-16; save the file as UTF-8"),
        (TEXT.encode("utf-16-be"), "expected a TOML file, got bytes of zero, as in UTF-16; save it as UTF-8"),
        (f"# a\n# é\n{TEXT}".encode("latin-1"), "expected TOML in UTF-8, got another encoding in line 2"),
        (b"", "expected a configuration, got an empty file; examples/ has some to start from"),
        (b"# nothing\n", "expected a configuration, got an empty file"),
        (json.dumps(DOCUMENT).encode(), "expected TOML, got JSON; write section.key ="),
        (b"# a run\ndata:\n  name: digits\n", "expected TOML, got YAML ('data:'); write key = value"),
        (b"---\nname: digits\n", "expected TOML, got YAML ('---')"),
        (b"a = 1\na = 2\n", "line 2, column 6: expected TOML, got a key that is set already"),
        (b"[a]\n[b]\n[a]\n", "line 3, column 3: expected TOML, got a section that is there already"),
        (b"a = {b = 1}\n[a.c]\n", "line 2, column 5: expected TOML, got "),
        (
            b"[data]\nname = digits\n",
            "line 2, column 8: expected TOML, got no value of TOML, such as 5",
        ),
        (b"[data\n", "line 1, column 6: expected TOML, got "),
        (b"name\n", "line 1, column 5: expected TOML, got a key without ="),
        (b"a = 1 b = 2\n", "line 1, column 7: expected TOML, got more than one statement in a line"),
        (b'path = "C:\\data"\n', "line 1, column 13: expected TOML, got a backslash in text"),
        (b'path = "C:\\Users\\me"\n', "line 1, column 13: expected TOML, got a backslash in text; double it, or use"),
        (b'path = "data\nn = 1\n', "line 1, column 13: expected TOML, got text without a closing quote, in 'path ="),
        (b"[budget\nn = 1\n", "line 1, column 8: expected TOML, got a section without ], in '[budget'"),
        (
            b"a = {\nb = 1}\n",
            "line 1, column 6: expected TOML, got a table in braces with a line break or a last comma",
        ),
        (b"n = 10,\n", "line 1, column 7: expected TOML, got a comma at the end of a statement, in 'n = 10,'"),
        (b"n = 010\n", "line 1, column 6: expected TOML, got a number that begins with 0, in 'n = 010'"),
        (TEXT.encode("utf-32"), "expected TOML in UTF-8, got UTF-32; save the file as UTF-8"),
        (b"n = " + b"1" * 5000, "expected TOML, got a number of too many digits"),
        (b"n = " + b"[" * 3000 + b"]" * 3000, "expected TOML, got lists or tables that are nested too deep"),
    ],
)
def test_file_that_is_not_toml_is_named_for_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    """In one line."""
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    for load in (load_config, load_comparison):
        with pytest.raises(ConfigError) as raised:
            load(file)
        assert str(raised.value).startswith(f"{file}: {message}")
        assert "\n" not in str(raised.value)


def test_absent_file_a_folder_and_a_file_without_permission_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot read the configuration .No such file or directory.$"):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="expected a TOML file, got a folder"):
        read_toml(tmp_path)

    def deny(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)  # root may read every file
    with pytest.raises(ConfigError, match=r"cannot read the configuration .Permission denied.$"):
        read_toml(tmp_path / "run.toml")


def test_file_of_a_comparison_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(TEXT + "[compare]\ndirectory = 'x'\n")
    with pytest.raises(ConfigError, match="expected the file of a run, got that of a comparison"):
        load_config(tmp_path / "run.toml")


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 3000 + "]" * 3000], ids=["long", "deep"])
def test_value_on_the_command_line_that_cannot_be_read_is_named(tmp_path: Path, value: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(TEXT)
    with pytest.raises(ConfigError, match=r"^--set: budget\.n: expected TOML, got "):
        load_config(file, [f"budget.n={value}"])
