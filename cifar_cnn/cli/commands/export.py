"""``cifar-cnn export``: write a trained network to one file, or to a folder for the Hugging Face Hub."""

from argparse import Namespace
from pathlib import Path

from cifar_cnn.analysis.export import Exported, ToInt8, check_packages, export_checkpoint, input_shape
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.runs.folders import find_checkpoint, run_of
from cifar_cnn.runs.run import RunFolder, find_run

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
    int8 = _int8(options)
    check_packages(options.format)
    checkpoint = find_checkpoint(options.run or options.ckpt_path or "best")
    what = f"{relative(run_of(checkpoint) or checkpoint)}, {checkpoint.stem} checkpoint, as {options.format}"
    if options.format == "hub":
        return _export_hub(options, checkpoint, what)
    suffix = _SUFFIXES[options.format]
    output = options.output or _default_output(checkpoint, suffix, options.precision)
    if output.suffix != suffix:
        raise InputError(f"--output of format {options.format} must end with {suffix}, not {output.name}")
    exported = export_checkpoint(checkpoint, output, options.format, options.tta, options.images, options.verify, int8)
    _show(exported, what, "probabilities")
    return 0


def _export_hub(options: Namespace, checkpoint: Path, what: str) -> int:
    from cifar_cnn.analysis.hub import CONFIG, WEIGHTS, export_hub  # needs packages of an extra

    run = RunFolder(*find_run(checkpoint))
    output = options.output or Path(relative(run.folder), "hub")
    if output.exists() and not output.is_dir():
        raise InputError(f"--output of format hub is a folder; {output} is a file")
    if (output / CONFIG).exists() and not (output / WEIGHTS).exists():
        raise InputError(
            f"{output / CONFIG} does not belong to an exported network: choose another folder with --output"
        )
    _show(export_hub(run, output, options.tta, options.images, options.verify), what, "logits")
    return 0


def _int8(options: Namespace) -> ToInt8 | None:
    """How to quantize the file; None for float32."""
    given = {"calibration": options.calibration, "max_loss": options.max_loss}
    given = {name: value for name, value in given.items() if value is not None}
    if options.precision != "int8":
        if given:
            raise InputError(f"--{next(iter(given))} needs --precision int8")
        return None
    if options.format != "onnx":
        raise InputError("--precision int8 is written as ONNX: remove --format, or use --format onnx")
    if given.get("calibration", 1) < 1:
        raise InputError("--calibration must be 1 or more")
    if not 0 <= given.get("max_loss", 0) <= 100:
        raise InputError("--max_loss must be from 0 to 100 points")
    return ToInt8(**given)


def _default_output(checkpoint: Path, suffix: str, precision: str) -> Path:
    run, part = run_of(checkpoint), ".int8" if precision == "int8" else ""
    return Path(relative(run), f"model{part}{suffix}") if run else checkpoint.with_suffix(part + suffix)


def _show(exported: Exported, what: str, output: str) -> None:
    trained, file = exported.trained, exported.file
    rows = {
        "Exported": what,
        "File": f"{file}, {file.stat().st_size / 2**20:.1f} MiB",
        "Input": f"images: uint8 {input_shape(trained)}",
        "Output": f"{output}: float32, (N, {len(trained.class_names)}), of {', '.join(trained.class_names)}",
        "Passes": f"{exported.passes} per image; test-time augmentation: {trained.classifier.tta}",
        "Verified": f"on {exported.images} {exported.origin}: within {exported.difference:.1e} of PyTorch's results",
    }
    if (int8 := exported.quantized) is not None:
        before, after = int8.accuracy
        rows["Verified"] += ", before the quantization"
        rows["File"] += f" (float32: {int8.size[0] / 2**20:.1f} MiB)"
        rows["Int8"] = f"calibrated on {int8.calibrated:,} training images"
        change = f"{before:.2%} before, {after:.2%} after ({100 * (after - before):+.2f} percentage points)"
        rows["Accuracy"] = f"{change}, on {int8.images:,} {int8.origin}"
    for name, text in rows.items():
        print(f"{name:<9} {text}")
