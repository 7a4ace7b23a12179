"""Whether torchvision works with the installed torch: each of its builds works with one build of torch."""

import torch


def working_torchvision() -> str:
    """The version of torchvision.

    Raises:
        ValueError: it cannot be imported, or its operators are not there.
    """
    try:
        import torchvision

        _ = torch.ops.torchvision.nms
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise ValueError(
            f"expected a torchvision that works with torch {torch.__version__}, got one that does not ({error})"
        ) from error
    return str(torchvision.__version__)
