"""A path of a file does not depend on where the command is started, and what earlier versions wrote is used."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from distill_worker.cache import Cache
from distill_worker.config.load import load_config
from distill_worker.config.places import SETTINGS
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import load_comparison
from distill_worker.experiments.comparison.compare_section import Compare
from tests.distill_worker.purchases import intend

RUN = 'data.name = "digits"\nmethod.name = "kd"\nstudent.network = "resnet8"\n'
STATED = """
data = {name = "npz", root = "sets", path = "own.npz"}
student.network = "net.py:make"
method.name = "kd"
budget = {strategy = "k-center", features = "net.safetensors"}
output = {directory = "out/run", cache = "cache.sqlite"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of the configuration."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def _file(folder: Path, text: str) -> Path:
    file = folder / "run.toml"
    file.write_text(text)
    return file


def _bought_into(cache: Path) -> None:
    with Cache(cache) as opened:
        intend(opened, opened.order("t", ["logits"]), [bytes(32)], payer="p")


def _paths(config: RunConfig) -> dict[str, object]:
    return {
        "output.directory": config.output.directory,
        "output.cache": config.output.cache,
        "data.root": config.data.root,
        "data.path": config.data.path,
        "budget.features": Path(config.budget.features),
        "student.network_file": config.student.network_file,
    }


@pytest.mark.parametrize("name", ["run.toml", "../project/run.toml", "linked/run.toml"])
def test_relative_path_in_a_file_starts_at_its_folder(project: Path, elsewhere: Path, name: str) -> None:
    """By any name of the folder."""
    _file(project, STATED)
    (elsewhere / "linked").symlink_to(project)
    opened = project / name if name == "run.toml" else Path(name)
    assert _paths(load_config(opened)) == {
        "output.directory": project / "out/run",
        "output.cache": project / "cache.sqlite",
        "data.root": project / "sets",
        "data.path": project / "own.npz",
        "budget.features": project / "net.safetensors",
        "student.network_file": project / "net.py",
    }


@pytest.mark.usefixtures("elsewhere")
def test_defaults_start_at_the_folder_of_the_file(project: Path) -> None:
    config = load_config(_file(project, RUN))
    assert (config.output.directory, config.output.cache, config.data.root) == (
        project / "runs/default",
        project / "runs/cache.sqlite",
        project / "data",
    )


def test_path_on_the_command_line_starts_at_the_working_directory(project: Path, elsewhere: Path) -> None:
    file = _file(project, STATED)
    overrides = [
        'output={cache = "c.sqlite"}',
        "data.root=r",
        "data.path=p",
        "budget.features=f",
        "student.network=n.py:make",
    ]
    assert _paths(load_config(file, overrides)) == {
        "output.directory": project / "runs/default",
        "output.cache": elsewhere / "c.sqlite",
        "data.root": elsewhere / "r",
        "data.path": elsewhere / "p",
        "budget.features": elsewhere / "f",
        "student.network_file": elsewhere / "n.py",
    }


def test_home_and_variables_are_expanded(project: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dollar sign that the working directory's own name has is no variable."""
    odd = elsewhere / "$odd"
    odd.mkdir()
    monkeypatch.chdir(odd)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.setenv("PART", "a")
    file = _file(project, RUN + 'output = {directory = "~/out", cache = "$SCRATCH/${PART}b.sqlite"}')
    config = load_config(file)
    assert (config.output.directory, config.output.cache) == (Path("/home/me/out"), Path("/scratch/ab.sqlite"))
    assert load_config(file, ["output.directory=~/x$PART"]).output.directory == Path("/home/me/xa")
    assert load_config(file, ["output.directory=x"]).output.directory == odd / "x"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("$UNSET/c", "expected the environment variable UNSET, got none or an empty one in '$UNSET/c'; set it"),
        ("${EMPTY}/c", "expected the environment variable EMPTY"),
        ("~nobody-of-that-name/c", "expected ~ or the name of a user after it"),
        ("", "expected a path, got ''"),
        ("a\\u0000b", "expected a path"),
    ],
)
def test_path_that_cannot_be_expanded_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    file = _file(project, RUN + f'output.cache = "{path}"')
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    assert str(raised.value).startswith(f"{file}: output.cache: {message}")


def test_server_is_no_path(project: Path) -> None:
    url = "postgresql://me@host/$cache"
    assert load_config(_file(project, RUN + f'output.cache = "{url}"')).output.cache == url


def test_earlier_cache_is_used_while_nothing_is_bought_into_the_new_one(project: Path, elsewhere: Path) -> None:
    """Then the new one is, and the note names the other cache."""
    file, notes = _file(project, RUN), list[str]()
    earlier, new = elsewhere / "runs/cache.sqlite", project / "runs/cache.sqlite"
    _bought_into(earlier)
    assert load_config(file, on_note=notes.append).output.cache == earlier
    assert notes == [
        f"output.cache: {earlier} is used, where earlier versions put it, because {new} does not exist; to keep it, "
        f'write output.cache = "{earlier}"'
    ]
    with Cache(new):
        pass
    assert load_config(file, on_note=notes.append).output.cache == earlier
    assert f"because {new} holds nothing that was bought" in notes[1]
    _bought_into(new)
    config = load_config(file, on_note=notes.append)
    assert (config.output.cache, config.output.other_caches) == (new, (earlier,))
    assert notes[2:] == [
        f"output.cache: {new} is used; {earlier}, which earlier versions used from here, is another cache"
    ]


@pytest.mark.usefixtures("elsewhere")
def test_cache_in_a_folder_above_that_of_the_file_is_used(project: Path) -> None:
    """There earlier versions put it when the command was started there."""
    (project / "configs").mkdir()
    _bought_into(project / "runs/cache.sqlite")
    assert load_config(_file(project / "configs", RUN)).output.cache == project / "runs/cache.sqlite"


def test_link_to_a_file_keeps_its_cache_when_it_gets_another_target(project: Path, elsewhere: Path) -> None:
    """What was bought beside the target is used."""
    for version in ("v1", "v2"):
        (project / version).mkdir()
        _file(project / version, RUN)
    link = elsewhere / "current.toml"
    link.symlink_to(project / "v1/run.toml")
    first = load_config(link).output.cache
    assert first == elsewhere / "runs/cache.sqlite"
    _bought_into(project / "v1/runs/cache.sqlite")
    assert load_config(link).output.cache == project / "v1/runs/cache.sqlite"
    _bought_into(elsewhere / "runs/cache.sqlite")
    link.unlink()
    link.symlink_to(project / "v2/run.toml")
    assert load_config(link).output.cache == first


@pytest.mark.parametrize(
    ("file", "content", "is_used"),
    [
        ("run.json", lambda config: {"identity": config.identity.values}, True),
        ("run.json", lambda config: {"identity": {**config.identity.values, "track": "labelled-pool"}}, False),
        ("rounds/0001.json", lambda config: {"of": config.identity.only("data", "budget").values}, True),
        ("rounds/0001.json", lambda _: {"of": {"data": {"name": "mnist"}}}, False),
        ("other.txt", lambda _: {}, False),
    ],
)
def test_earlier_run_directory_is_used_if_it_is_this_runs(
    project: Path, elsewhere: Path, file: str, content: Callable[[RunConfig], object], *, is_used: bool
) -> None:
    """Another project's is left alone."""
    path, notes = _file(project, RUN), list[str]()
    earlier = elsewhere / "runs/default"
    (earlier / file).parent.mkdir(parents=True)
    (earlier / file).write_text(json.dumps(content(load_config(path))))
    directory = load_config(path, on_note=notes.append).output.directory
    assert directory == (earlier if is_used else project / "runs/default")
    assert len(notes) == is_used


@pytest.mark.parametrize("override", ["method.name=ce", "output.cache=other.sqlite"])
def test_place_that_is_not_used_is_not_mentioned(project: Path, elsewhere: Path, override: str) -> None:
    """Nor is a folder of data sets that the digits do not need."""
    for name in ("runs/cache.sqlite", "data"):
        (elsewhere / name).mkdir(parents=True)
    notes: list[str] = []
    load_config(_file(project, RUN), [override], on_note=notes.append)
    assert notes == []


def test_run_is_the_same_wherever_it_is_loaded(project: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _file(project, STATED)
    there = load_config(file)
    monkeypatch.chdir(project)
    assert load_config(file) == there
    network = there.identity.values["student"]
    assert network == {"network": "net.py:make", "image_size": None}, "the network as every version has stored it"
    assert elsewhere != project


@pytest.mark.usefixtures("elsewhere")
def test_configuration_passes_to_a_process_in_any_folder(project: Path) -> None:
    config = load_config(_file(project, STATED))
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_comparison_has_its_files_beside_it(project: Path, elsewhere: Path) -> None:
    (elsewhere / "net.py").touch()
    file = _file(
        project,
        """
data = {name = "npz", path = "own.npz"}
student.network = "resnet8"
[compare]
directory = "out"
n = [4]
seeds = 1
teacher = {network = "net.py:make", steps = 1}
[[compare.methods]]
label = "kd"
method.name = "kd"
""",
    )
    comparison = load_comparison(file)
    [cell] = comparison.cells
    assert cell.config.output.cache == project / "out/cache.sqlite"
    assert cell.config.data.path == project / "own.npz"
    assert comparison.compare.teacher is not None
    teacher = comparison.teacher_run(comparison.compare.teacher)
    assert teacher.student.network_to_build == f"{elsewhere / 'net.py'}:make", "where earlier versions took it from"


def test_file_from_a_pipe_has_the_working_directory(elsewhere: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, RUN.encode())
    os.close(writing)
    assert load_config(Path(f"/dev/fd/{reading}")).output.cache == elsewhere / "runs/cache.sqlite"
    os.close(reading)


def test_deleted_working_directory_is_named(project: Path, elsewhere: Path) -> None:
    file = _file(project, RUN)
    elsewhere.rmdir()
    with pytest.raises(ConfigError, match="the working directory was deleted"):
        load_config(file)


def _path_settings(section: type[BaseModel], within: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        kinds: list[Any] = [field.annotation, *get_args(field.annotation)]
        if Path in kinds:
            yield f"{within}{name}"
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _path_settings(kind, f"{within}{name}.")


def test_every_path_of_a_configuration_has_its_place() -> None:
    stated = {*_path_settings(RunConfig), *_path_settings(Compare, "compare.")}
    assert stated <= set(SETTINGS)
    assert set(SETTINGS) - stated == {"budget.features"}, "which may be a path"
