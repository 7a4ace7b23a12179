"""Answers of vendors: other shapes, percentages, sums that rounding explains; and the files that they are sent."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from distill_worker.config.answers.answer_path import AnswerFields
from distill_worker.config.load import load_config
from distill_worker.data.datasets.image_folder import image_folder
from distill_worker.data.datasets.opening import Opening
from distill_worker.data.pictures.reading import Picture
from distill_worker.data.sent_images import own_file
from distill_worker.errors import AnswerUnread, TeacherRefused
from distill_worker.runs.sampling.samples import Samples
from distill_worker.teachers.base import Answer
from distill_worker.teachers.open_teacher import teacher_at
from distill_worker.teachers.vendors.labelled_scores import LabelledScoresTeacher
from distill_worker.training.teacher_logits import to_logits
from shared.output_kinds import OutputKind
from shared.sample_key import sample_key, sample_keys
from tests.distill_worker.teachers.scripted_server import URL, Server
from tests.distill_worker.teachers.vendors.clients import labelled_scores

LABELS = {"cat": 0, "dog": 1, "newt": 2}
IMAGE = np.array([[[[7, 0], [0, 0]]]], np.uint8)


def _bought(body: Any, image: NDArray[np.uint8] = IMAGE, **options: Any) -> tuple[Answer, Server]:
    server = Server(httpx.Response(200, content=json.dumps(body)))
    with labelled_scores(server.sender(), url=URL, model="pets", labels=LABELS, **{"top_k": 2, **options}) as teacher:
        description = teacher.describe()
        (kind,) = description.outputs
        return teacher.buy(image, description=description, idempotency_key="k", outputs=(kind,)), server


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (
            {"predictions": [{"class": "dog", "confidence": 0.75}, {"class": "cat", "confidence": 0.25}]},
            {"labels": "predictions[].class", "scores": "predictions[].confidence"},
        ),
        ({"labels": ["cat", "dog"], "scores": [0.25, 0.75]}, {"labels": "labels[]", "scores": "scores[]"}),
        (
            [[{"label": "cat", "score": 0.25}, {"label": "dog", "score": 0.75}]],
            {"labels": "[0][].label", "scores": "[0][].score"},
        ),
        (
            {"result": {"tags": [{"tag": {"en": "cat"}, "sure": 25}, {"tag": {"en": "dog"}, "sure": 75.0}]}},
            {"labels": "result.tags[].tag.en", "scores": "result.tags[].sure", "percent": True},
        ),
    ],
    ids=["objects", "lists", "nested", "percent"],
)
def test_fields_stand_where_the_configuration_says(body: Any, fields: Mapping[str, Any]) -> None:
    answer, _ = _bought(body, fields=AnswerFields(**fields))
    assert answer.outputs["top_k:2"].tolist() == [[[1, 0.75], [0, 0.25]]]


def test_other_fields_make_another_teacher_and_the_plain_ones_the_same_as_before() -> None:
    body = [{"label": "cat", "score": 0.25}, {"label": "dog", "score": 0.75}]
    plain, _ = _bought(body)
    same, _ = _bought(body, fields=AnswerFields())
    other, _ = _bought(body, fields=AnswerFields(labels="[].label", scores="[].score", percent=True))
    assert plain.teacher_id == same.teacher_id != other.teacher_id


@pytest.mark.parametrize(
    ("body", "fields", "because"),
    [
        ({"predictions": []}, {}, r"set teacher\.answer"),
        (
            [{"label": "cat", "score": 93.5}, {"label": "dog", "score": 1}],
            {},
            r"from 0 to 1 for 'cat', got 93\.5; if scores are percentages, set teacher\.answer\.percent = true",
        ),
        (
            {"labels": ["cat", "dog"], "scores": [0.5]},
            {"labels": "labels[]", "scores": "scores[]"},
            "got 2 labels at labels.* and 1 scores at scores",
        ),
    ],
)
def test_another_shape_is_named_with_what_to_set(body: Any, fields: Mapping[str, Any], because: str) -> None:
    with pytest.raises(AnswerUnread, match=because):
        _bought(body, fields=AnswerFields(**fields))


@pytest.mark.parametrize(
    ("scores", "digits", "is_read"),
    [
        ([0.5, 0.3, 0.18], None, True),
        ([0.5, 0.3, 0.17], None, True),
        ([0.5, 0.3, 0.18], 2, True),
        ([0.5, 0.3, 0.18], 4, False),
        ([0.501234, 0.301234, 0.177532], None, False),
        ([0.5, 0.3, 0.1], None, False),
        ([0.34, 0.34, 0.33], None, True),
        ([0.345678, 0.335678, 0.335678], None, False),
    ],
)
def test_sum_that_rounding_explains_trains_and_any_other_is_seen_in_the_first_answer(
    scores: list[float], digits: int | None, is_read: bool
) -> None:
    """What is accepted when it is bought is accepted when it is trained on."""
    body = [{"label": label, "score": score} for label, score in zip(LABELS, scores, strict=True)]
    with nullcontext() if is_read else pytest.raises(AnswerUnread, match="add up to 1"):
        answer, _ = _bought(body, top_k=3, score_digits=digits)
        ((kind, values),) = answer.outputs.items()
        assert torch.isfinite(to_logits(OutputKind.parse(kind), torch.from_numpy(values), 3)).all()


def _files(folder: Path) -> dict[str, bytes]:
    """Two classes of large pictures in different formats; in each class two that shrink to the same pixels.

    Test pictures are the same as the training pictures.
    """
    random = np.random.default_rng(0)
    contents: dict[str, bytes] = {}
    for number, label in enumerate(("cat", "dog")):
        flat = np.full((64, 48, 3), 40 + 100 * number, np.uint8)
        pictures: dict[str, tuple[NDArray[np.uint8], str]] = {
            f"{index}.{suffix}": (random.integers(0, 256, (60 + index, 50, 3), dtype=np.uint8), name)
            for index, (suffix, name) in enumerate([("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("webp", "WEBP")])
        } | {"a.png": (flat, "PNG"), "b.bmp": (flat, "BMP")}
        for name, (pixels, kind) in pictures.items():
            for part in ("test", "train"):
                path = folder / part / label / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, format=kind)
                contents[f"{label}/{name}"] = path.read_bytes()
    return contents


CONFIG = """
data = {{name = "image-folder", path = "{path}", image_size = [4, 4]}}
student.network = "resnet8"
method.name = "kd"
[teacher]
protocol = "labelled-scores"
model = "pets"
labels = {{cat = 0, dog = 1}}
{teacher}
"""


def _sent(tmp_path: Path, teacher: str = "") -> tuple[dict[bytes, httpx.Request], dict[str, bytes], str]:
    """The request for each training image, the files, and the teacher's id."""
    contents = _files(tmp_path / "pets")
    place = tmp_path / "run.toml"
    place.write_text(CONFIG.format(path=tmp_path / "pets", teacher=teacher))
    config = load_config(place)
    samples = Samples.of(config)
    server = Server(httpx.Response(200, json=[{"label": "cat", "score": 0.75}, {"label": "dog", "score": 0.25}]))
    with teacher_at(config.resolved_teacher, url=URL, api_key=None) as client:
        assert isinstance(client, LabelledScoresTeacher)
        client._sender = server.sender()
        description = client.describe()
        client.use_files(samples.files_by_key())
        for key, image in samples.wanted.items():
            client.buy(
                image[None], description=description, idempotency_key=key.hex(), outputs=tuple(description.outputs)
            )
    return dict(zip(samples.wanted, server.requests, strict=True)), contents, description.id


MEDIA = {"png": "image/png", "jpg": "image/jpeg", "bmp": "image/bmp", "webp": "image/webp"}


def test_own_files_are_sent_as_they_are_with_their_media_type(tmp_path: Path) -> None:
    sent, contents, teacher_id = _sent(tmp_path)
    names = {content: name for name, content in contents.items()}
    by_name = {names[request.content]: request.headers["Content-Type"] for request in sent.values()}
    assert len(by_name) == len(sent) == 10
    assert all(media == MEDIA[name.rpartition(".")[2]] for name, media in by_name.items())
    assert "/unversioned/file/" in teacher_id


def test_of_files_with_the_same_pixels_one_is_sent_whatever_they_are_called(tmp_path: Path) -> None:
    sent, contents, _ = _sent(tmp_path)
    for label in ("cat", "dog"):
        (tmp_path / "pets" / "train" / label / "a.png").rename(tmp_path / "pets" / "train" / label / "z.png")
    split = image_folder(Opening(tmp_path / "pets", (4, 4))).train
    assert split.files is not None
    for pixel in (40, 140):
        same = sample_key(np.full((3, 4, 4), pixel, np.uint8))
        keys = sample_keys(split.images.numpy())
        files = [file for key, file in zip(keys, split.files, strict=True) if key == same]
        assert len(files) == 2
        assert own_file(files) == own_file(files[::-1])
        assert own_file(files)[0] == sent[same].content
        assert sent[same].content in contents.values()


def test_size_that_the_configuration_names_is_made_of_the_file(tmp_path: Path) -> None:
    sent, _, teacher_id = _sent(tmp_path, "image_size = [24, 32]")
    for request in sent.values():
        with Image.open(BytesIO(request.content)) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (32, 24), "RGB")
    assert "/unversioned/file/24x32/" in teacher_id


def test_pixels_are_sent_if_the_configuration_says_so_under_the_name_of_before(tmp_path: Path) -> None:
    sent, _, teacher_id = _sent(tmp_path, 'send = "pixels"')
    for key, request in sent.items():
        with Image.open(BytesIO(request.content)) as image:
            assert sample_key(np.moveaxis(np.asarray(image), -1, 0)) == key
    assert teacher_id.split("/")[-2] == "unversioned"


def test_image_without_a_file_is_sent_as_its_pixels() -> None:
    """A mixture, or an augmented view."""
    _, server = _bought([{"label": "cat", "score": 0.75}, {"label": "dog", "score": 0.25}], sends_files=True)
    with Image.open(BytesIO(server.requests[0].content)) as image:
        assert np.array_equal(np.asarray(image), IMAGE[0, 0])


def test_file_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    _files(tmp_path / "pets")
    split = image_folder(Opening(tmp_path / "pets", (4, 4))).train
    assert split.files is not None
    image, file = split.images.numpy()[0], split.files[0]
    Path(file.name).unlink()
    server = Server(httpx.Response(500))
    with labelled_scores(server.sender(), url=URL, model="pets", labels=LABELS, sends_files=True) as teacher:
        teacher.use_files({sample_key(image): [file]})
        with pytest.raises(TeacherRefused, match=r"cannot be read.*nothing was sent"):
            teacher.buy(image[None], description=teacher.describe(), idempotency_key="k", outputs=("top_k:3",))
    assert server.requests == []


def test_picture_of_a_phone_with_a_second_frame_is_sent_as_the_jpeg_that_it_is(tmp_path: Path) -> None:
    """Pillow names it MPO, which no vendor knows."""
    path = tmp_path / "phone.jpg"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, format="MPO", save_all=True, append_images=frames[1:])
    content, media_type = own_file([Picture.at(str(path))])
    assert (content, media_type) == (path.read_bytes(), "image/jpeg")


def test_each_sample_has_its_own_file_after_the_split_by_key(tmp_path: Path) -> None:
    """A folder of classes without parts: decoding a sample's file gives the sample."""
    _files(tmp_path / "pets")
    for split in (dataset := image_folder(Opening(tmp_path / "pets" / "train", (4, 4)))).train, dataset.test:
        assert split.files is not None
        for image, file in zip(split.images.numpy(), split.files, strict=True):
            with Image.open(file.name) as picture:
                small = np.asarray(picture.convert("RGB").resize((4, 4), Image.Resampling.BILINEAR))
            assert np.array_equal(np.moveaxis(small, -1, 0), image)
