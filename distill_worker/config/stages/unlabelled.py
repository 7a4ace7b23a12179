"""A run on images without labels: the file need not say so where the folder shows it, and no label is learned from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_worker.data.datasets.class_folders import image_files, shown_folders
from distill_worker.data.datasets.csv_list import has_labels, is_csv

_NAME = "image-folder"


def with_labels_off(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a run; if its data have no labels, without the cross-entropy with labels.

    A folder in which images lie side by side has no labels, and neither has a list of images, but for a CSV
    file with a column of labels. What the document states stays.
    """
    data = document.get("data")
    if not isinstance(data, Mapping):
        return dict(document)
    if "labels" not in data and data.get("name") == _NAME and _has_no_classes(data.get("path")):
        data = {**data, "labels": "none"}
    if data.get("labels") != "none":
        return dict(document)
    method = document.get("method")
    if isinstance(method, Mapping):
        method = {"label_weight": 0.0, **method}
    return {**document, "data": data, "method": method}


def _has_no_classes(path: object) -> bool:
    """Whether images lie side by side in a folder that has no folders, or in a list without labels."""
    if not isinstance(path, str | Path):
        return False
    place = Path(path)
    try:
        if is_csv(place):
            return not has_labels(place)
        return place.is_file() or (place.is_dir() and not shown_folders(place) and bool(image_files(place)[0]))
    except OSError:
        return False  # the reader of the data says what is wrong
