"""The command ``cifar-cnn``, also ``python -m cifar_cnn``."""

import sys


def main() -> None:
    """Run the command line of ``sys.argv`` and exit with its status."""
    from cifar_cnn.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
