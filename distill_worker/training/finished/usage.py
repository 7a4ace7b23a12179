"""The part of a model card that says how to use the file: Python for the format, and the commands of Tuition."""

import json
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Final

from distill_worker.data.pictures.conversion import MODES
from distill_worker.data.pictures.rules import FIRST, Rules
from distill_worker.training.finished.tracing import INPUT, OUTPUT
from shared.networks import runs_code
from shared.weights import CARD, WeightsCard

_IMPORTS: Final = {
    "safetensors": "from pathlib import Path\n\nimport numpy as np\nimport torch",
    "onnx": "import json\n\nimport numpy as np\nimport onnxruntime",
    "torch-export": "import json\n\nimport numpy as np\nimport torch",
}
_OPEN: Final = {
    "safetensors": """from shared.weights import load_weights  # of Tuition

card, network, _ = load_weights(Path({file}){trust})
card = card.model_dump()""",
    "onnx": f"""session = onnxruntime.InferenceSession({{file}})
card = json.loads(session.get_modelmeta().custom_metadata_map["{CARD}"])""",
    "torch-export": f"""extra = {{{{"{CARD}": ""}}}}
network = torch.export.load({{file}}, extra_files=extra).module()
card = json.loads(extra["{CARD}"])""",
}
"""Opening a file, and reading its card."""
_IN_PYTORCH: Final = "with torch.inference_mode():\n    logits = network(torch.from_numpy(images)).numpy()"
_CONVERTED: Final = (
    "`distill-worker predict` also converts grey of 16 bits, and the colours of a profile other than sRGB. This code "
    "does not."
)
_CALL: Final = {
    "safetensors": _IN_PYTORCH,
    "onnx": f'[logits] = session.run(["{OUTPUT}"], {{"{INPUT}": images}})',
    "torch-export": _IN_PYTORCH,
}
_OPEN_PICTURE: Final[Mapping[Rules, str]] = {
    1: """picture = Image.open("picture.png").convert("{mode}")""",
    2: """picture = ImageOps.exif_transpose(Image.open("picture.png"))
if picture.mode.startswith(("I", "F")):
    raise SystemExit("expected a picture of 8 bits a channel; convert it")
if picture.has_transparency_data:
    white = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(white, picture.convert("RGBA"))
picture = picture.convert("{mode}")""",
}
"""As `OpenPicture.converted`, by the rules of the pictures."""
_PICTURE: Final = """{opened}
height, width = card["image_size"]
picture = picture.resize((width, height), Image.Resampling.BILINEAR)
pixels = np.asarray(picture, np.float32).reshape(height, width, -1).transpose(2, 0, 1)"""
_ARRAY: Final = (
    """pixels = np.load("picture.npy").astype(np.float32)  # [channels, height, width], of card["image_size"]"""
)
_RESIZED: Final = """
height, width = card["resize"]
channels = [Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR) for one in pixels]
pixels = np.stack([np.asarray(one) for one in channels])"""
"""As `normalise` resizes, which sees the pixels of `image_size`."""


def usage(card: WeightsCard, file: str, format_name: str, rules: Rules) -> str:
    """Markdown: the code from a picture to its class, and what else can open the file.

    Args:
        card: describes the network.
        file: the name of the exported file.
        format_name: its format.
        rules: those by which the network's own pictures became pixels.
    """
    mode = MODES.get(card.in_channels)
    trust = ", trust_code=True" if runs_code(card.network) else ""
    opening = _OPEN[format_name].format(file=json.dumps(file, ensure_ascii=False), trust=trust)
    needed = [*(["Image"] if mode or card.resize else []), *(["ImageOps"] if mode and rules > FIRST else [])]
    pixels = _ARRAY if mode is None else _PICTURE.format(opened=_OPEN_PICTURE[rules].format(mode=mode))
    code = f"""{_IMPORTS[format_name]}
{f"from PIL import {', '.join(needed)}" if needed else ""}

{opening}

{pixels}{"" if card.resize is None else _RESIZED}
mean, std = (np.reshape(card[name], (-1, 1, 1)) for name in ("mean", "std"))
images = ((pixels / 255 - mean) / std)[np.newaxis].astype(np.float32)
{_CALL[format_name]}
print(card["class_names"][logits[0].argmax()])"""
    notes = [*([] if mode is None or rules == FIRST else [_CONVERTED]), *_notes(card, file, format_name)]
    return f"```python\n{code}\n```\n" + "".join(f"\n{note}\n" for note in notes)


def _notes(card: WeightsCard, file: str, format_name: str) -> Iterator[str]:
    has_own_code = format_name == "safetensors" and runs_code(card.network)
    trust = " --trust-code" if has_own_code or format_name == "torch-export" else ""
    if format_name == "torch-export":
        yield "The file needs PyTorch alone. To load it is to run code of it: load only files whose author you trust."
    yield "It is a teacher for other students, too:"
    yield f"```sh\nteacher-service serve --weights {quote(file)}{trust}\n```"
    if has_own_code:
        yield (
            f"Its network is code, `{card.network}`, which the file does not hold. A relative path of it starts at the "
            "working directory."
        )
    if card.degradation is not None:
        yield "Tuition also adds the degradation that the card names, noise or rounding of logits. This code does not."
