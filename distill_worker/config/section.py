"""The base of every section of the configuration, and the settings that several sections have."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """Settings that cannot be changed once they are read; an unknown key, an infinity or a NaN is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _is_positive(size: tuple[int, int]) -> tuple[int, int]:
    if min(size) < 1:
        raise ValueError(f"expected a positive height and width, got {list(size)}")
    return size


ImageSize = Annotated[tuple[int, int], AfterValidator(_is_positive)]
"""Height and width in pixels."""
