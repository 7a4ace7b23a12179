"""`teacher-service pack`."""

from pathlib import Path
from typing import Annotated

import typer

from teacher_service.cli.options import AsJson, path


def pack(
    source: Annotated[
        Path,
        typer.Option(
            "--state-dict",
            "--model",
            parser=path,
            metavar="FILE",
            help="The model's file: a state dict (.pth, .pt or .safetensors), a TorchScript archive, a program of "
            "torch.export or an ONNX model. Its content says which it is. Both names of the option mean the same.",
        ),
    ],
    network: Annotated[
        str | None,
        typer.Option(
            help="Network of a state dict: torchvision:NAME, timm:NAME, package.module:FACTORY, file.py:FACTORY, or "
            "one of Tuition's own. The other kinds of files hold their network."
        ),
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Classes in the order of the logits: a text file with one name a line, names separated by commas, or "
            "imagenet; default 0, 1, 2, ...",
        ),
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="imagenet (mean, std and size 224 of torchvision's classifiers), zero-to-one or minus-one-to-one "
            "(pixels are only scaled). The other options change its values.",
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="Mean of each channel, as 0.485,0.456,0.406: the network sees (pixel / 255 - mean) / std."),
    ] = None,
    std: Annotated[str | None, typer.Option(help="Standard deviation of each channel.")] = None,
    image_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Size of the images that clients send: 224, or 240x320 (height first)."),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Size that the network sees, if it is another one; the service resizes."),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(min=2, help="Number of classes, if the file does not show it.")
    ] = None,
    in_channels: Annotated[
        int | None, typer.Option(min=1, help="Channels of an image, if the file does not show them.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", parser=path, metavar="FILE", help="File to write; default beside the model's."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--try", parser=path, metavar="IMAGE", help="Print the 5 most probable classes of this picture."),
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Load a TorchScript or torch.export archive, whose code then runs."),
    ] = False,
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle", help="Load a pickled file that holds more than tensors, which may run any code."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a file that describes itself of a model that you have, for `serve --weights`.

    The file holds the model, its classes and its preprocessing. Before it is written, it is opened as the service opens
    it, and answers images. Nothing is replaced. Prints the two commands to type next.
    """
    from teacher_service.cli import packing

    packing.pack(
        packing.Statements(
            source=source,
            network=network,
            class_names=class_names,
            preprocessing=preprocessing,
            mean=mean,
            std=std,
            image_size=image_size,
            resize=resize,
            num_classes=num_classes,
            in_channels=in_channels,
            trust_code=trust_code,
            trust_pickle=trust_pickle,
        ),
        output,
        picture,
        as_json=as_json,
    )
