"""The commands on a trained network: `analyse`, `evaluate`, `predict`, `export` and `degrade`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from distill_worker.cli.examples import examples
from distill_worker.cli.options import AsJson, TrustCode, expanded_path

Student = Annotated[
    Path,
    typer.Argument(
        parser=expanded_path,
        metavar="STUDENT",
        help="The directory of a finished run, or a weights file, for example runs/.../student.safetensors.",
    ),
]
Root = Annotated[Path, typer.Option(parser=expanded_path, metavar="FOLDER", help="Folder of the data sets.")]
OwnData = Annotated[
    Path | None, typer.Option(parser=expanded_path, metavar="PATH", help="File or folder of your own data.")
]


@examples(
    "distill-worker analyse runs/digits-ckd",
    "distill-worker analyse runs/digits-ckd --teacher-weights runs/digits-teacher/student.safetensors",
    "distill-worker analyse examples/compare-digits.toml",
)
def analyse(
    target: Annotated[
        Path,
        typer.Argument(
            parser=expanded_path,
            metavar="RUN",
            help="The directory of a finished run, or the TOML file of a run or comparison.",
        ),
    ],
    teacher_weights: Annotated[
        Path | None,
        typer.Option(
            parser=expanded_path,
            metavar="FILE",
            help="A weights file of the teacher, if you have it: adds its figures on the test images.",
        ),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="CACHE",
            help="Of a directory: the cache of the run; by default the cache.sqlite above the directory.",
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            parser=expanded_path, metavar="FOLDER", help="Of a directory: the folder of the data sets; by default data."
        ),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(parser=expanded_path, metavar="PATH", help="Of a directory: file or folder of your own data."),
    ] = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Analyse a finished student: calibration, confusion, spectrum, sharpness, and how close it is to its teacher.

    The teacher's outputs come from the cache of the run: no call is spent, and no
    teacher is contacted. The facts are written to analysis.json in the run
    directory. For the TOML file of a comparison, each finished student is analysed
    once, and one table with paired tests over the seeds is printed.
    docs/analyses.md says what each figure means.
    """
    from distill_worker.cli.actions.weights import analyse

    analyse(target, teacher_weights, cache=cache, root=root, path=path, trust_code=trust_code, as_json=as_json)


@examples(
    "distill-worker evaluate runs/digits-ckd", "distill-worker evaluate runs/digits-ckd --data npz --path other.npz"
)
def evaluate(
    student: Student,
    data: Annotated[
        str | None, typer.Option(help="The data set; by default the one that the network was trained on.")
    ] = None,
    root: Root = Path("data"),
    path: OwnData = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Print the top-1 accuracy of a trained network on the test split."""
    from distill_worker.cli.actions.weights import evaluate

    evaluate(student, data, root=root, path=path, trust_code=trust_code, as_json=as_json)


@examples(
    "distill-worker predict runs/digits-ckd seven.png",
    "distill-worker predict runs/digits-ckd photos/ --top 1",
    "distill-worker predict runs/digits-ckd photos/*.png --json",
)
def predict(
    student: Student,
    images: Annotated[
        list[Path],
        typer.Argument(
            parser=expanded_path,
            metavar="IMAGES...",
            help="Image files, and folders: of a folder, all image files in it and below it.",
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="The number of classes to print for each image.")] = 3,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Print the most probable classes of images, with their probabilities.

    An image of another size is resized to the size that the student takes,
    as the data set image-folder resizes it. For a student of grey images, a
    colour image becomes grey; for one of colour images, a grey image gets three
    equal channels. Files are read as in the student's training. An image that
    cannot be read is an error that names it, and then nothing is printed.
    """
    from distill_worker.cli.actions.weights import predict

    predict(student, images, top=top, trust_code=trust_code, as_json=as_json)


@examples(
    "distill-worker export runs/digits-ckd --format onnx",
    "distill-worker export runs/digits-ckd --format onnx --output models/digits.onnx",
    "distill-worker export runs/digits-ckd --format torch-export --output models/digits",
    "teacher-service serve --weights models/digits.onnx",
)
def export(
    student: Student,
    file_format: Annotated[
        Literal["safetensors", "onnx", "torch-export"],
        typer.Option(
            "--format",
            help="safetensors: the weights, for Tuition. onnx: for ONNX runtimes (needs the extra onnx). torch-export: "
            "for PyTorch. teacher-service serves all of them.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            parser=expanded_path,
            metavar="PATH",
            help="The file to write (.safetensors, .onnx, .pt2), or its folder; by default the folder export/<format> "
            "beside the weights. Neither the file nor a README.md may exist there.",
        ),
    ] = None,
    root: Root = Path("data"),
    path: OwnData = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Write a finished student to a file in another format, with a model card (README.md) beside it.

    The logits of the file are compared with those of the student, on test images
    of the data set of the run, or on drawn images if that is not at hand (--root,
    --path). The largest difference is printed. If it is above 1e-4, nothing is
    written, and the exit status is 6. teacher-service serves the formats
    safetensors and onnx, so the student can be the next teacher.
    """
    from distill_worker.cli.actions.weights import export

    export(student, file_format, output, root=root, path=path, trust_code=trust_code, as_json=as_json)


@examples(
    "distill-worker degrade runs/digits-teacher/student.safetensors worse.safetensors --noise 0.5",
    "distill-worker degrade teacher.safetensors pruned.safetensors --prune 0.8",
)
def degrade(
    weights: Annotated[Path, typer.Argument(parser=expanded_path, metavar="WEIGHTS", help="A weights file.")],
    output: Annotated[
        Path, typer.Argument(parser=expanded_path, metavar="OUTPUT", help="The file to write; it must not exist.")
    ],
    prune: Annotated[float, typer.Option(min=0, max=1, help="Share of the smallest weights that become 0.")] = 0.0,
    noise: Annotated[float, typer.Option(min=0, help="Standard deviation of noise on the logits.")] = 0.0,
    decimals: Annotated[int | None, typer.Option(min=0, max=6, help="Decimals that logits are rounded to.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise; one image always gets the same noise.")] = 0,
    trust_code: TrustCode = False,
) -> None:
    """Make a worse teacher, to measure how much a method depends on the teacher; serve the file like any other.

    For a half-trained teacher, set training.stop_after_steps.
    """
    from distill_worker.cli.actions.weights import degrade

    degrade(weights, output, prune=prune, noise=noise, decimals=decimals, seed=seed, trust_code=trust_code)
