"""Names, and the arguments that go with each."""

import subprocess
import sys
from pathlib import Path

import pytest

from distill_worker.data.datasets import DATASETS, is_there, load_dataset
from distill_worker.errors import ConfigError, DataError

_OWN = ("medmnist", "image-folder", "npz", "webdataset", "hugging-face")
_RESIZED = ("tiny-imagenet", "image-folder", "webdataset", "hugging-face")


def test_names_are_those_that_are_promised() -> None:
    assert set(DATASETS) >= {
        "digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "stl10", "tiny-imagenet", "medmnist",
        "image-folder", "npz", "webdataset", "hugging-face",
    }  # fmt: skip
    assert all(summary and "\n" not in summary for summary in DATASETS.values())


def test_unknown_data_set_is_refused_and_the_known_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"digits, mnist, fashion-mnist, .*hugging-face, got 'imagenet'"):
        load_dataset("imagenet", tmp_path)


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in _OWN])
def test_path_is_refused_where_the_root_says_it_all(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^data.path: expected no value, because {name} .*data.root"):
        load_dataset(name, tmp_path, path=tmp_path)


@pytest.mark.parametrize("name", _OWN)
def test_data_of_ones_own_need_a_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^data.path: expected the path of the data, got no value; {name} is"):
        load_dataset(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in _RESIZED])
def test_image_size_is_refused_where_nothing_is_resized(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^data.image_size: expected no value, because {name} .*got \[8, 8\]"):
        load_dataset(name, tmp_path, path=tmp_path if name in _OWN else None, image_size=(8, 8))


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in (*_OWN, "fashion-mnist")])
def test_data_set_is_there_if_it_has_files(name: str, tmp_path: Path) -> None:
    """The digits come with scikit-learn."""
    assert is_there(name, tmp_path) == (name == "digits")


@pytest.mark.parametrize(
    "place",
    [
        ("mnist", "MNIST/raw"), ("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python"),
        ("svhn", "train_32x32.mat"), ("stl10", "stl10_binary"), ("tiny-imagenet", "tiny-imagenet-200"),
    ],
)  # fmt: skip
def test_files_are_searched_where_they_are_read(place: tuple[str, str], tmp_path: Path) -> None:
    """fashion-mnist may be Debian's."""
    name, folder = place
    (tmp_path / folder).mkdir(parents=True)
    assert is_there(name, tmp_path)
    with pytest.raises(DataError, match=folder.partition("/")[0]):
        load_dataset(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in ("digits", "fashion-mnist")])
def test_absent_files_are_named_with_a_remedy(name: str, tmp_path: Path) -> None:
    """fashion-mnist, which Debian has, is tested by itself."""
    if name == "hugging-face":
        pytest.importorskip("datasets")
    absent = tmp_path / "absent"
    with pytest.raises(DataError) as caught:
        load_dataset(name, absent, path=absent if name in _OWN else None)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert str(absent) in message
    assert "expected" in message
    if name not in _OWN:
        assert "absent: " in message
        assert "on a machine with internet, run: " in message
    assert not absent.exists()


def test_libraries_that_only_some_data_sets_need_are_not_imported_for_all() -> None:
    libraries = "{'torch', 'torchvision', 'sklearn', 'scipy'}"
    code = f"import sys, distill_worker.data.datasets; print({libraries} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_labels_of_a_public_data_set_can_be_left_out_of_training() -> None:
    labelled, unlabelled = load_dataset("digits", Path("data")), load_dataset("digits", Path("data"), labels="none")
    assert unlabelled.train.labels is None
    assert (unlabelled.train.images == labelled.train.images).all()
    assert unlabelled.test.needed_labels.tolist() == labelled.test.needed_labels.tolist()
    with pytest.raises(DataError, match="expected data with labels, got images without"):
        _ = unlabelled.train.needed_labels
