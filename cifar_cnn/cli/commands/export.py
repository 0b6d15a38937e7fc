"""``cifar-cnn export``: write a trained network to one file."""

from argparse import Namespace
from pathlib import Path

from cifar_cnn.analysis.export import Exported, check_packages, export_checkpoint, input_shape
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.runs.folders import find_checkpoint, run_of

_SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2"}


def run(options: Namespace) -> int:
    """Export and verify; return the exit status.

    Raises:
        InputError: there is no checkpoint, a package is missing, there are no images to verify on, the network cannot
            be exported, or the file's results differ.
    """
    if options.run and options.ckpt_path:
        raise InputError("give either the run or --ckpt_path, not both")
    if options.verify < 2:
        raise InputError("--verify must be 2 or more")
    check_packages(options.format)
    checkpoint = find_checkpoint(options.run or options.ckpt_path or "best")
    suffix = _SUFFIXES[options.format]
    output = options.output or _default_output(checkpoint, suffix)
    if output.suffix != suffix:
        raise InputError(f"--output of format {options.format} must end with {suffix}, not {output.name}")
    _show(
        export_checkpoint(checkpoint, output, options.format, options.tta, options.images, options.verify),
        f"{relative(run_of(checkpoint) or checkpoint)}, {checkpoint.stem} checkpoint, as {options.format}",
    )
    return 0


def _default_output(checkpoint: Path, suffix: str) -> Path:
    run = run_of(checkpoint)
    return Path(relative(run), f"model{suffix}") if run else checkpoint.with_suffix(suffix)


def _show(exported: Exported, what: str) -> None:
    trained, output = exported.trained, exported.file
    rows = {
        "Exported": what,
        "File": f"{output}, {output.stat().st_size / 2**20:.1f} MiB",
        "Input": f"images: uint8 {input_shape(trained)}",
        "Output": f"probabilities: float32, (N, {len(trained.class_names)}), of {', '.join(trained.class_names)}",
        "Passes": f"{exported.passes} per image; test-time augmentation: {trained.classifier.tta}",
        "Verified": f"on {exported.images} {exported.origin}: largest difference to PyTorch {exported.difference:.1e}",
    }
    for name, text in rows.items():
        print(f"{name:<9} {text}")
