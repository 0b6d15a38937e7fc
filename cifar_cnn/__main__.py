"""The command ``cifar-cnn``, also ``python -m cifar_cnn``."""

import sys

from cifar_cnn import commands

HELP = """\
Convolutional networks on CIFAR-10: train, test and look at them.

usage: cifar-cnn COMMAND [options]

  fit       train what a config describes, into a new folder lightning_logs/version_N
  test      accuracy on the test images: of the newest run's best checkpoint, or of --ckpt_path
  validate  accuracy on the validation images, likewise
  predict   classes of any images or folders of images
  report    one page about a run, with curves, mistakes, filters and layers: report.html in its folder
  explain   equivariance, invariance and parameter sharing, measured on trained networks
  compare   runs, or configs that are trained first, with the uncertainty of each difference
  export    a trained network as one ONNX or PyTorch file, verified

examples:
  cifar-cnn fit --config configs/quickstart.yaml
  cifar-cnn fit --config configs/resnet18.yaml --trainer.max_epochs 30 --data.batch_size 256
  cifar-cnn fit --config configs/resnet18.yaml --data.source ImageFolder --data.source.root DIR
  cifar-cnn fit --ckpt_path last                          go on after an interruption
  cifar-cnn test
  cifar-cnn predict photo.jpg folder/ --output classes.csv
  cifar-cnn report lightning_logs/version_0
  cifar-cnn compare configs/simple_cnn_a.yaml configs/simple_cnn_batchnorm.yaml --seeds 3

`cifar-cnn COMMAND --help` lists a command's options, `cifar-cnn fit --config FILE --print_config` their values,
`cifar-cnn fit --model.backbone.help ResNet18` those of a class.
"""


def main() -> None:
    """Run the command line of ``sys.argv`` and exit with its status."""
    args = sys.argv[1:]
    if args and args[0] in ("-h", "--help"):
        print(HELP, end="")
        sys.exit(0)
    if args == ["--version"]:
        from cifar_cnn import __version__

        print(f"cifar-cnn {__version__}")
        sys.exit(0)

    if (not args or not args[0].startswith("-")) and (mistake := commands.mistake(args[0] if args else None)):
        print(f"cifar-cnn: error: {mistake}", file=sys.stderr)
        sys.exit(2)

    # A class_path may name a module in the current folder, as `python -m` allows and a console script does not.
    sys.path.append("")

    from cifar_cnn.cli import run  # only now: it imports torch and Lightning, which takes seconds

    sys.exit(run(args))


if __name__ == "__main__":
    main()
