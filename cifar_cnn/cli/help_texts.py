"""The texts of ``--help``. Imports neither torch nor Lightning, so that help appears at once.

For ``fit``, ``validate`` and ``test``, these are fixed texts about the common options; tests/cli/test_help.py compares
them with the parser's options and defaults. ``--help all`` prints the parser's complete list.
"""

from cifar_cnn.cli import command_names

_OVERVIEW = """\
Train, test and analyze convolutional networks on CIFAR-10.

usage: cifar-cnn COMMAND [options]

  fit       train a network from a config, in a new folder lightning_logs/version_N
  test      accuracy on the test images of the newest run's best checkpoint, or of --ckpt_path
  validate  accuracy of the same checkpoint on the validation images
  predict   classify images or folders of images
  report    write report.html into a run folder: curves, mistakes, filters and layers on one page
  explain   measure equivariance, invariance and parameter sharing of trained networks
  compare   compare runs, or train and compare configs, with the uncertainty of each difference
  ensemble  test the mean of the probabilities of several runs
  export    write a trained network to a verified ONNX or PyTorch file, or for the Hugging Face Hub
  runs      list all runs with accuracy, time and status
  configs   list the ready-made configs, or copy them into a folder
  show      draw images with their class names, optionally augmented, to a PNG or in a window
  lab       write the exercises of the lab into a folder, or check answers

examples:
  cifar-cnn fit --config quickstart
  cifar-cnn fit --config resnet18 --trainer.max_epochs 30 --data.batch_size 512
  cifar-cnn fit --config resnet18 --data.source ImageFolder --data.source.root DIR
  cifar-cnn fit --ckpt_path last                          resume an interrupted run
  cifar-cnn test
  cifar-cnn predict photo.jpg folder/ --output classes.csv
  cifar-cnn report lightning_logs/version_0
  cifar-cnn compare simple_cnn_a simple_cnn_batchnorm --seeds 3
  cifar-cnn lab start lab1

`cifar-cnn COMMAND --help` shows the options of a command and examples.
"""

_FIT = """\
usage: cifar-cnn fit [--config FILE] [options]

Train a network. The config, curves, checkpoints, images of the filters and the report are written to a new folder
lightning_logs/version_N. A config contains options as YAML; options on the command line override it. The best
checkpoint has the best validation accuracy; the test set is never used for model selection.

examples:
  cifar-cnn fit --config quickstart
  cifar-cnn fit --config simple_cnn_a --trainer.max_epochs 20 --model.optimizer.lr 0.02
  cifar-cnn fit --config resnet18 --data.source ImageFolder --data.source.root DIR
  cifar-cnn fit --model.backbone ResNet18 --data.augment.crop 4 --data.augment.flip true --test_after_fit true
  cifar-cnn fit --ckpt_path last                          resume an interrupted run

what to run:
  --config FILE             YAML file of options, or a name listed by `cifar-cnn configs`; if given several times,
                            later configs override earlier ones
  --ckpt_path PATH          resume from this checkpoint in its run folder; last: that of the newest run (default: none)
  --seed_everything N       seed of the weights, the order of the images and their augmentation; false: a different
                            seed each time (default: 0)
  --name NAME               name of the run, for its report, comparisons and `cifar-cnn runs`
  --test_after_fit BOOL     test the best checkpoint at the end (default: false)

images:
  --data.source NAME        CIFAR10 or CIFAR100 (downloaded once), ImageFolder (your own), Arrays (NumPy files with
                            --data.source.train FILE and .test FILE), Shapes (drawn offline) (default: CIFAR10)
  --data.source.root DIR    folder of the CIFAR archive (default: data); for ImageFolder, one with train/, test/ and,
                            optionally, val/
  --data.batch_size N       images per training step (default: 128)
  --data.val_size N         number or fraction of the training images set aside for validation; 0: none; by default
                            5000, unless the source has validation images
  --data.fold K, --data.folds N
                            validate on one of N parts of the training images; K is 0 to N - 1
  --data.train_fraction X  train on only this fraction of the training images (default: 1.0)
  --data.train_per_class N  train on this number of images of each class instead
  --data.label_noise X      fraction of the training labels to replace with wrong ones, or a file of training labels
                            (default: 0.0)
  --data.augment.crop N     random shift by up to N pixels (default: 0)
  --data.augment.flip BOOL  mirror a random half of the images; alternating: each image every second epoch (default:
                            false)
  --data.augment.cutout N   blank a random square of N x N pixels (default: 0)
  --data.augment.brightness X, --data.augment.contrast X
                            change both for each image, by up to X (default: 0)

network and training:
  --model.backbone NAME     SimpleCNN, ResNet18, SpeedrunNet, or any torch.nn.Module by its import path (required)
  --model.loss NAME         module or function of (logits, target), by import path (default: torch.nn.CrossEntropyLoss)
  --model.optimizer NAME    optimizer, such as torch.optim.AdamW or cifar_cnn.optim.Muon (default: torch.optim.SGD)
  --model.optimizer.lr X    learning rate (default: 0.1)
  --model.schedule NAME     learning-rate schedule, such as WarmupCosine or PiecewiseLinear; null: constant (default:
                            none)
  --trainer.max_epochs N    passes over the training images (default: 10)

hardware:
  --trainer.precision NAME  32-true, bf16-mixed or 16-mixed (default: bf16-mixed where the hardware supports it well,
                            else 32-true)
  --trainer.devices N       number of GPUs or, with --trainer.strategy ddp, of CPU processes (default: auto)

`cifar-cnn fit --help all` lists all options, including those of the Trainer and the checkpoints; `cifar-cnn fit
--config FILE --print_config` prints all values; `cifar-cnn fit --model.backbone.help ResNet18` lists a class's options.
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
  --ckpt_path PATH          a checkpoint, or a run folder for its best checkpoint; best or last: that of the newest
                            run (default: best)
  --data.source NAME        other images of the same classes and size (default: as trained)
  --data.source.root DIR    folder of these images (default: as trained)
  --data.eval_batch_size N  images per batch (default: as trained)
{options}
  --trainer.precision NAME  32-true, bf16-mixed or 16-mixed (default: as trained)
  --trainer.devices N       number of GPUs or, with --trainer.strategy ddp, of CPU processes (default: auto)

`cifar-cnn {command} --help all` lists all options.
"""

_TEST = _EVALUATE.format(
    command="test",
    description="""\
Print the accuracy on the test images, overall and per class. Network, images and precision are taken from the
checkpoint: no config is needed. The run folder receives test.json (with the confusion matrix), test_predictions.npz and
report.html. A test of another checkpoint, of other images or of a subset writes test_NAME.json and
test_NAME_predictions.npz instead; test.json records which images were tested.""",
    examples="""\
  cifar-cnn test --data.source ImageFolder --data.source.root DIR --name blurred
  cifar-cnn test --data.source Arrays --data.source.test images.npy --data.source.test_labels labels.npy --name new
  cifar-cnn test --model.tta flip""",
    options="""\
  --name NAME               name of images other than the run's, for test_NAME.json; otherwise a hash of the images
  --model.tta NAME          test-time augmentation: none, flip (average over mirrored images) or flip_shift (also over
                            images shifted by one pixel) (default: as trained)
  --corruptions [N]         also measure the accuracy under common corruptions, on all images or on N of them
  --temperature             also fit a temperature on the validation images and score the confidence with it
  --report BOOL             write report.html (default: true)""",
)

_VALIDATE = _EVALUATE.format(
    command="validate",
    description="""\
Print the accuracy on the validation images, which were set aside during training. Network, images and precision are
taken from the checkpoint: no config is needed. No file is written.""",
    examples="""\
  cifar-cnn validate --data.source ImageFolder --data.source.root DIR --data.val_size 1000""",
    options="""\
  --data.val_size N         number or fraction of training images set aside for validation (default: as trained)""",
)

_TEXTS = {"fit": _FIT, "test": _TEST, "validate": _VALIDATE}


def wanted(args: list[str]) -> str | None:
    """The help text that a command line requests; None if it requests no help or the parser's list of all options."""
    asked = next((i for i, arg in enumerate(args) if arg in ("-h", "--help")), None)
    if asked is None:
        return None
    if asked == 0:
        return _OVERVIEW
    if args[0] in _TEXTS:
        return None if args[asked + 1 : asked + 2] == ["all"] else _TEXTS[args[0]]
    if args[0] in command_names.ANALYSES:
        from cifar_cnn.cli import arguments  # argparse takes as long to import as everything else here

        parser, _ = arguments.of_action(args[0], args[1:])
        return parser.format_help()
    return None
