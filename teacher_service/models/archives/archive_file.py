"""The file of a program of PyTorch: a TorchScript archive or a program of torch.export, with a card as an extra file.

Both are zip files. The card is read, and written into a copy, without running what is in them: the other members stay
as they are, byte for byte.

Invariant: the fingerprint covers the card and every member that decides what is computed, under its name. It does not
depend on the name of the file, nor on where the members are in it.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from shared.weights import CARD, FINGERPRINT_LENGTH, WeightsCard, WeightsError, canonical_card
from teacher_service.models.file_kind import ARCHIVES, FileKind, kind_of

_CARD: Final = f"extra/{CARD}"
"""Where PyTorch keeps `extra_files`."""
_COMPUTES_NOTHING: Final = (_CARD, ".data/serialization_id")
_MOST_GROWTH: Final = 4
"""How much larger than the file its members may be: PyTorch compresses code alone."""
_ANY_SIZE: Final = 64 * 2**20
"""Members of this size in all, in bytes, are read from any file."""
_DEBUGGING: Final = ".debug_pkl"
"""Where each line of code of a TorchScript archive came from."""


@dataclass(frozen=True)
class ArchiveFile:
    """The members of an archive, by their names in it."""

    path: Path
    kind: FileKind
    content: bytes
    """The file."""
    root: str
    """The folder in the archive that has all members; it was named after the file when it was written."""
    members: Mapping[str, bytes]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The archive at this path.

        Raises:
            WeightsError: it cannot be read, or is none of those that this program can serve.
        """
        kind = kind_of(path)
        if kind not in ARCHIVES:
            raise WeightsError(f"{path}: expected a TorchScript archive or a program of torch.export, got {kind.value}")
        try:
            content = path.read_bytes()
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names, size = archive.namelist(), sum(member.file_size for member in archive.infolist())
                is_bomb = size > _MOST_GROWTH * len(content) + _ANY_SIZE
                members = {} if is_bomb else {name: archive.read(name) for name in names}
        except (OSError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{path}: the archive cannot be read ({error}); copy or save it again") from error
        roots = {name.partition("/")[0] for name in names}
        if len(roots) != 1 or len(members) != len(names):
            raise WeightsError(
                f"{path}: expected an archive of PyTorch 2.8 or later, with one folder, each name once and tensors "
                "that are not compressed, got another; load it with the PyTorch that wrote it, and save it anew"
            )
        root = roots.pop()
        return cls(path, kind, content, root, {name.partition("/")[2]: data for name, data in members.items()})

    @property
    def card(self) -> str | None:
        """The card's JSON, if the archive has one."""
        text = self.members.get(_CARD)
        return None if text is None else text.decode("utf-8", "replace")

    def with_card(self, card: WeightsCard) -> bytes:
        """A copy of the file that holds this card, in place of any other."""
        copy = io.BytesIO()
        members = {name: data for name, data in self.members.items() if name != _CARD}
        with zipfile.ZipFile(copy, "w") as archive:
            for name, data in {**members, _CARD: card.model_dump_json().encode()}.items():
                archive.writestr(zipfile.ZipInfo(f"{self.root}/{name}"), data)  # of 1980: equal members, equal bytes
        return copy.getvalue()

    def fingerprint(self, card: WeightsCard) -> str:
        """The first 16 hexadecimal digits of the SHA-256 over the canonical card and the members, sorted by name."""
        digest = sha256(canonical_card(card))
        for name, data in sorted(self.members.items()):
            if name not in _COMPUTES_NOTHING and not name.endswith(_DEBUGGING):
                digest.update(f"{name}:{len(data)}:".encode())
                digest.update(data)
        return digest.hexdigest()[:FINGERPRINT_LENGTH]
