"""What ``--help`` prints. Imports neither torch nor Lightning, so that it is there at once.

For the commands of Lightning's Trainer these are fixed texts on the common options; tests/cli/test_help.py compares
them with the real options and defaults. ``--help all`` prints the parser's own list.
"""

from cifar_cnn.cli import command_names

_OVERVIEW = """\
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
  runs      a table of all runs, with accuracy, time and status
  configs   the ready-made configs: list them, or copy them into a folder
  show      images with their class names, as training sees them, to a PNG or in a window

examples:
  cifar-cnn fit --config quickstart
  cifar-cnn fit --config resnet18 --trainer.max_epochs 30 --data.batch_size 256
  cifar-cnn fit --config resnet18 --data.source ImageFolder --data.source.root DIR
  cifar-cnn fit --ckpt_path last                          go on after an interruption
  cifar-cnn test
  cifar-cnn predict photo.jpg folder/ --output classes.csv
  cifar-cnn report lightning_logs/version_0
  cifar-cnn compare simple_cnn_a simple_cnn_batchnorm --seeds 3

`cifar-cnn COMMAND --help` shows a command's options and examples of its use.
"""

_FIT = """\
usage: cifar-cnn fit [--config FILE] [options]

Train a network, into a new folder lightning_logs/version_N: its config, curves, checkpoints, pictures of the filters
and report. A config gives the options as YAML; those on the command line override it. The checkpoint kept as best is
that of the epoch with the best validation accuracy; the test images choose nothing.

examples:
  cifar-cnn fit --config quickstart
  cifar-cnn fit --config simple_cnn_a --trainer.max_epochs 20 --model.optimizer.lr 0.02
  cifar-cnn fit --config resnet18 --data.source ImageFolder --data.source.root DIR
  cifar-cnn fit --model.backbone ResNet18 --data.augment.crop 4 --data.augment.flip true --test_after_fit true
  cifar-cnn fit --ckpt_path last                          go on after an interruption

what to run:
  --config FILE             YAML file of options, or a name that `cifar-cnn configs` lists; of several, later ones
                            override earlier ones
  --ckpt_path PATH          go on from this checkpoint, in its run's folder; last: the newest run's (default: none)
  --seed_everything N       seed of the weights, of the order of the images and of augmentation; false: another
                            each time (default: 0)
  --name NAME               of the run, for its report, comparisons and `cifar-cnn runs`
  --test_after_fit BOOL     test the best checkpoint at the end (default: false)

images:
  --data.source NAME        CIFAR10, downloaded once; ImageFolder, your own; Shapes, drawn offline (default: CIFAR10)
  --data.source.root DIR    folder of CIFAR10's archive (default: data); of ImageFolder, with train/ and test/
  --data.batch_size N       images a training step (default: 128)
  --data.val_size N         training images set aside for validation; 0: none (default: 5000)
  --data.augment.crop N     random shift by up to N pixels (default: 0)
  --data.augment.flip BOOL  mirror half of the images, at random; or alternating: by epochs in turn (default: false)
  --data.augment.cutout N   blank a random square of N pixels a side (default: 0)

network and how it learns:
  --model.backbone NAME     SimpleCNN, ResNet18, SpeedrunNet, or any torch.nn.Module by its import path; no default
  --model.loss NAME         module or function of (logits, target), by its path (default: torch.nn.CrossEntropyLoss)
  --model.optimizer NAME    such as torch.optim.AdamW or cifar_cnn.optim.Muon (default: torch.optim.SGD)
  --model.optimizer.lr X    learning rate (default: 0.1)
  --model.schedule NAME     such as WarmupCosine or PiecewiseLinear; null keeps the learning rate (default: none)
  --trainer.max_epochs N    passes over the training images (default: 10)

hardware:
  --trainer.precision NAME  32-true, bf16-mixed or 16-mixed (default: bf16-mixed where the hardware is fast at it, else
                            32-true)
  --trainer.devices N       how many GPUs or, with --trainer.strategy ddp, CPU processes (default: auto)

`cifar-cnn fit --help all` lists all options, of the Trainer, checkpoints and more; `cifar-cnn fit --config FILE
--print_config` all their values; `cifar-cnn fit --model.backbone.help ResNet18` those of a class.
"""

_EVALUATE = """\
usage: cifar-cnn {command} [--ckpt_path PATH] [options]

{description}

examples:
  cifar-cnn {command}
  cifar-cnn {command} --ckpt_path lightning_logs/version_3
  cifar-cnn {command} --ckpt_path lightning_logs/version_3/checkpoints/last.ckpt
{examples}

common options:
  --ckpt_path PATH          a checkpoint, or the folder of a run, whose best is meant; best or last: the newest run's
                            (default: best)
  --data.source NAME        other images of the same classes and size (default: as trained)
  --data.source.root DIR    their folder (default: as trained)
  --data.eval_batch_size N  images at a time (default: as trained)
{options}
  --trainer.precision NAME  32-true, bf16-mixed or 16-mixed (default: as trained)
  --trainer.devices N       how many GPUs or, with --trainer.strategy ddp, CPU processes (default: auto)

`cifar-cnn {command} --help all` lists all options.
"""

_TEST = _EVALUATE.format(
    command="test",
    description="""\
Accuracy on the test images, all and by class. Network, images and precision are those of the checkpoint's training: no
config is needed. Into the checkpoint's run go test.json, with the confusion matrix, test_predictions.npz and
report.html. A test of another checkpoint, of other images or of some of the images leaves these as they are and writes
test_NAME.json and test_NAME_predictions.npz; test.json says which images were tested.""",
    examples="""\
  cifar-cnn test --data.source ImageFolder --data.source.root DIR --name blurred
  cifar-cnn test --model.tta flip""",
    options="""\
  --name NAME               of other images, for test_NAME.json; by default from the images' fingerprint
  --model.tta NAME          average over views of each image: none, flip (mirrored too) or flip_shift (shifted by a
                            pixel too) (default: as trained)
  --report BOOL             write report.html (default: true)""",
)

_VALIDATE = _EVALUATE.format(
    command="validate",
    description="""\
Accuracy on the validation images, those that were set aside in the checkpoint's training. Network, images and precision
are those of that training: no config is needed. Nothing is written.""",
    examples="""\
  cifar-cnn validate --data.source ImageFolder --data.source.root DIR --data.val_size 1000""",
    options="""\
  --data.val_size N         how many of the training images are set aside (default: as trained)""",
)

_TEXTS = {"fit": _FIT, "test": _TEST, "validate": _VALIDATE}


def wanted(args: list[str]) -> str | None:
    """The help that a command line asks for; None if for none, or for the list of all options.

    Args:
        args: the command line.
    """
    asked = next((i for i, arg in enumerate(args) if arg in ("-h", "--help")), None)
    if asked is None:
        return None
    if asked == 0:
        return _OVERVIEW
    if args[0] in _TEXTS:
        return None if args[asked + 1 : asked + 2] == ["all"] else _TEXTS[args[0]]
    if args[0] in command_names.ANALYSES:
        from cifar_cnn.cli import arguments  # argparse takes as long to import as all else of the help

        return arguments.PARSERS[args[0]]().format_help()
    return None
