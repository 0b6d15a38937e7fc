"""The options of ``cifar-cnn export`` and ``ensemble``. Imports no torch, so that help and errors appear at once."""

from pathlib import Path

from cifar_cnn.cli.argument_parser import ArgumentParser
from cifar_cnn.runs.folders import RUNS


def export() -> ArgumentParser:
    """The options of ``cifar-cnn export``."""
    parser = ArgumentParser(
        "export",
        "Export a trained network to one file, or to a folder for the Hugging Face Hub. Input: uint8 RGB images\n"
        "(N, 3, size, size) for any N. Output: probabilities (N, classes); with --format hub, logits. The file\n"
        "includes the normalization, and the class names as metadata. Its results are compared with PyTorch's on the\n"
        "run's test images (or on --images); if they differ, it is deleted.",
        [
            "",
            "lightning_logs/version_3 --output net.onnx",
            "--format torch_export --ckpt_path last --images photos/",
            "--tta none",
            "--precision int8 --max_loss 0.5",
            "--format hub --output net",
        ],
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="folder of a run, or a checkpoint (default: the newest run's best)"
    )
    parser.add_argument("--ckpt_path", metavar="PATH", help="the same as RUN")
    parser.add_argument(
        "--format",
        choices=("onnx", "torch_export", "hub"),
        default="onnx",
        help="onnx; torch_export (PyTorch's format); or hub, a folder with model.safetensors, config.json and a model "
        "card, which HubClassifier.from_pretrained loads (default: onnx)",
    )
    default = "RUN/model.onnx, RUN/model.int8.onnx, RUN/model.pt2 or RUN/hub"
    parser.add_argument("--output", type=Path, metavar="PATH", help=f"file or folder to write (default: {default})")
    _add_changes(parser)
    parser.add_argument(
        "--images", nargs="+", metavar="IMAGE_OR_FOLDER", help="verify on these images (default: the run's test images)"
    )
    parser.add_argument(
        "--verify", type=int, default=256, metavar="N", help="number of images to verify on (default: 256)"
    )
    return parser


def _add_changes(parser: ArgumentParser) -> None:
    """The options that change what the file computes."""
    parser.add_argument(
        "--tta",
        choices=("none", "flip", "flip_shift"),
        help="test-time augmentation in the file: none is one forward pass per image, flip two, flip_shift six "
        "(default: the run's model.tta, which test and predict also use)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "int8"),
        default="float32",
        help="int8 quantizes an ONNX file, and prints its accuracy before and after (default: float32)",
    )
    parser.add_argument(
        "--calibration", type=int, metavar="N", help="training images that int8 is calibrated on (default: 512)"
    )
    parser.add_argument(
        "--max_loss",
        type=float,
        metavar="POINTS",
        help="write no int8 file that loses more percentage points of accuracy than this, measured on the validation "
        "images or, if there are none, on the test images (default: 1)",
    )


def ensemble() -> ArgumentParser:
    """The options of ``cifar-cnn ensemble``."""
    parser = ArgumentParser(
        "ensemble",
        "Test the mean of the probabilities of several runs on their test images: accuracy with its interval,\n"
        "negative log-likelihood, Brier score, expected calibration error, and the accuracy of each class, for each\n"
        "run and for the ensemble. The runs need the same classes and test images. A run that has not been tested is\n"
        "tested first.",
        [
            "lightning_logs/version_0 lightning_logs/version_1 lightning_logs/version_2",
            "lightning_logs/compare_0/*/seed_*/lightning_logs/version_0 --output all_seeds",
        ],
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of two or more runs")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"folder for ensemble.json and the predictions (default: {RUNS}/ensemble_N)",
    )
    return parser
