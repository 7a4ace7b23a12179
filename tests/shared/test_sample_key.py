"""Sample keys are the same on every machine, for ever."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from shared.sample_key import KEY_BYTES, sample_key, sample_keys

_IMAGES = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))


def _image(shape: tuple[int, ...], *pixels: int) -> NDArray[np.uint8]:
    return np.array(pixels, np.uint8).reshape(shape)


@pytest.mark.parametrize(
    ("image", "digest"),
    [
        (_image((1, 1, 1), 0), "b8a248597a05335dea989fe9fdd5a6ced66b042a56d320fed7d1296b1b0e6416"),
        (_image((1, 2, 3), *range(6)), "bf160b5a87b016431d93ce297c080d6c6cc7484836dfed3d4c4a52c684d90cea"),
        (_image((3, 2, 1), *range(6)), "b37abda514e5041a636adc48e6c972442ad8096865c3dffc996b8f0f65e5b374"),
        (_image((2, 1, 2), 255, 128, 127, 1), "51cfa4938716343ba1e5c37ff3e5a525b8c4a523a61dd3967f0aacd05ce4580e"),
    ],
)
def test_key_is_the_known_digest_of_a_known_image(image: NDArray[np.uint8], digest: str) -> None:
    """Digests by `printf ... | sha256sum` in a shell: a change here orphans everything that was ever bought."""
    assert sample_key(image).hex() == digest
    assert len(sample_key(image)) == KEY_BYTES == 32


@given(_IMAGES)
def test_key_hashes_shape_and_pixels_in_row_major_order(image: NDArray[np.uint8]) -> None:
    channels, height, width = image.shape
    pixels = bytes(
        int(image[channel, row, column])
        for channel in range(channels)
        for row in range(height)
        for column in range(width)
    )
    assert sample_key(image) == sha256(f"uint8:{channels}x{height}x{width}:".encode() + pixels).digest()


@given(_IMAGES)
def test_key_does_not_depend_on_memory_layout(image: NDArray[np.uint8]) -> None:
    views = [np.asfortranarray(image), image[:, ::-1][:, ::-1], np.repeat(image, 2, axis=2)[:, :, ::2]]
    assert {sample_key(view) for view in views} == {sample_key(image)}


@given(_IMAGES, st.data())
def test_key_changes_with_any_pixel(image: NDArray[np.uint8], data: st.DataObject) -> None:
    other = image.copy()
    other.flat[data.draw(st.integers(0, image.size - 1))] ^= data.draw(st.integers(1, 255))
    assert sample_key(other) != sample_key(image)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.float32, np.bool_])
def test_key_refuses_what_is_not_uint8(dtype: type[np.generic]) -> None:
    with pytest.raises(TypeError, match="expected dtype uint8"):
        sample_key(np.zeros((1, 2, 2), dtype))


@pytest.mark.parametrize("shape", [(), (4,), (2, 2), (1, 1, 2, 2)])
def test_key_refuses_what_is_not_one_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="channels, height, width"):
        sample_key(np.zeros(shape, np.uint8))


def test_keys_of_a_stack_are_its_images_keys_in_order() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    assert sample_keys(images) == [sample_key(images[0]), sample_key(images[1]), sample_key(images[2])]
    assert sample_keys(images[:0]) == []
    with pytest.raises(ValueError, match="samples, channels, height, width"):
        sample_keys(images[0])
