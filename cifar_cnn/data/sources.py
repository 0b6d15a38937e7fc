"""Where images come from. A source gives an ImageSet for ``train`` and one for ``test``; nothing else knows files."""

import errno
import hashlib
import os
import struct
import tempfile
import unicodedata
import zlib
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5, check_integrity, extract_archive
from tqdm import tqdm

from cifar_cnn.data.images import ImageSet
from cifar_cnn.errors import InputError
from cifar_cnn.files import locked

Split = Literal["train", "test"]
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif", ".ppm", ".pgm", ".tif", ".tiff", ".tga")
)
# What Pillow raises for a file that it cannot read; on damaged ones its decoders are not choosy.
UNREADABLE = (
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
MAX_PIXELS = 64 * 2**20  # of an image: few bytes can stand for many pixels, and each core decodes one at a time
ARCHIVE_BYTES = 170_498_071  # of the official archive
_FULL = (errno.ENOSPC, errno.EDQUOT)
ChannelStats = tuple[tuple[float, ...], tuple[float, ...]]


class Source(ABC):
    """A set of labelled training and test images.

    Attributes:
        mean_std: per-channel mean and standard deviation of the training images in [0, 1], where they are known;
            None has them measured.
    """

    mean_std: ChannelStats | None = None

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their labels; known before any image is loaded."""

    def prepare(self, split: Split = "train") -> None:  # noqa: B027  (not abstract: there may be nothing to do)
        """Download, decode, cache what ``load(split)`` needs: what one process a machine does once for all."""

    @abstractmethod
    def load(self, split: Split) -> ImageSet:
        """The images of a split, in memory."""


class CIFAR10(Source):
    """The official CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels.

    The archive is downloaded once, verified by its md5, and read with torchvision. An archive that is already in
    ``root`` is used without network.

    Args:
        root: folder for the archive and the extracted files.
        url: address of ``cifar-10-python.tar.gz``, or a list of mirrors to try in turn. The md5 makes any mirror safe.
        timeout: seconds without an answer after which the next mirror is tried.
    """

    # Of the training images. The widely copied std 0.2023, 0.1994, 0.2010 is a mean of per-image stds.
    mean_std = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))

    def __init__(
        self,
        root: str | os.PathLike = "data",
        url: str | list[str] = datasets.CIFAR10.url,
        timeout: float = 30.0,
    ) -> None:
        self.root = Path(root).expanduser()
        self.urls = [url] if isinstance(url, str) else list(url)
        self.timeout = timeout

    @property
    def class_names(self) -> tuple[str, ...]:
        """The ten classes."""
        return ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def prepare(self, split: Split = "train") -> None:
        """Download and extract, unless the verified files are there.

        Raises:
            InputError: no mirror gave the archive, or ``root`` cannot be written.
        """
        if self._extracted():
            return
        archive = self.root / datasets.CIFAR10.filename
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self.root):
                if self._extracted():  # by another process, meanwhile
                    return
                if not check_integrity(archive, datasets.CIFAR10.tgz_md5):
                    self._download(archive)
                extract_archive(os.fspath(archive), os.fspath(self.root))
        except OSError as error:
            raise InputError(
                f"cannot prepare CIFAR-10 in {self.root}: {error}; free or name another folder with --data.source.root"
            ) from error
        if not self._extracted():
            raise InputError(f"the files extracted to {self.root} are damaged: remove {archive} and run again")

    def load(self, split: Split) -> ImageSet:
        """50,000 or 10,000 images; (N, 3, 32, 32)."""
        dataset = datasets.CIFAR10(self.root, train=split == "train")
        images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
        return ImageSet(images, torch.tensor(dataset.targets), self.class_names)

    def _extracted(self) -> bool:
        base = self.root / datasets.CIFAR10.base_folder
        files = [*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list]
        files.append([datasets.CIFAR10.meta["filename"], datasets.CIFAR10.meta["md5"]])
        return all(check_integrity(base / name, md5) for name, md5 in files)

    def _download(self, archive: Path) -> None:
        # Under another name until it is verified: what bears the archive's name is whole, or the user put it there.
        part = archive.with_name(archive.name + ".part")
        failures = []
        for url in self.urls:
            part.unlink(missing_ok=True)
            try:
                _fetch(url, part, self.timeout)
                if (md5 := calculate_md5(part)) != datasets.CIFAR10.tgz_md5:
                    raise ValueError(f"damaged (md5 {md5})")
            except (OSError, ValueError, HTTPException) as error:  # ValueError: what is no address, too
                if isinstance(error, HTTPError):
                    reason = f"HTTP {error.code}"
                elif isinstance(error, OSError) and (error.filename is not None or error.errno in _FULL):
                    raise  # the disk, not the network
                else:
                    reason = str(error)
                failures.append(f"{url}: {reason}")
            else:
                part.replace(archive)
                return
            part.unlink(missing_ok=True)
        damaged = f"{archive} is damaged, remove it; " if archive.exists() else ""
        raise InputError(
            f"{damaged}CIFAR-10 could not be downloaded ({'; '.join(failures)}). Either put {archive.name} into "
            f"{self.root}, or give a mirror with --data.source.url, or train without it: --data.source ImageFolder "
            "--data.source.root DIR, or --config configs/quickstart.yaml"
        )


def _fetch(url: str, target: Path, timeout: float) -> None:
    """Download, and give up after ``timeout`` seconds without an answer or when it is more than the archive can be."""
    with urlopen(Request(url, headers={"User-Agent": "cifar-cnn"}), timeout=timeout) as response:
        total = int(response.headers.get("Content-Length") or 0) or None
        with target.open("wb") as file, tqdm(desc="Downloading", total=total, unit="B", unit_scale=True) as progress:
            while chunk := response.read(2**18):
                if progress.n + len(chunk) > ARCHIVE_BYTES:
                    raise ValueError(f"damaged (over {ARCHIVE_BYTES} bytes)")
                file.write(chunk)
                progress.update(len(chunk))


class ImageFolder(Source):
    """Images in folders: ``root/train/<class>/*`` and ``root/test/<class>/*``, of any common format and size.

    Each is scaled and centre-cropped to ``image_size`` and kept, decoded, in a cache file; a changed folder or
    ``image_size`` is noticed by the names, sizes and times of the files.

    Args:
        root: the folder that has ``train`` and ``test``.
        image_size: pixels a side.
        cache: folder for the cache; by default ``.cifar_cnn_cache`` in ``root`` or, where that cannot be written, in
            the user's cache folder.
    """

    FORMAT = 1  # of the cache file; another number makes older ones be decoded again

    def __init__(self, root: str | os.PathLike, image_size: int = 32, cache: str | os.PathLike | None = None) -> None:
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.cache = Path(cache).expanduser() if cache is not None else None
        self._prepared: dict[Split, ImageSet] = {}
        if image_size < 1:
            raise InputError(f"image_size is in pixels, 1 or more; not {image_size}")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the folders in ``train``, sorted; looked up once, for the folders may go while a run needs them.

        Raises:
            InputError: there is no such folder, fewer than two classes in it, or one whose name cannot be printed.
        """
        names = tuple(sorted(entry.name for entry in _folders(self.root / "train")))
        if len(names) < 2:
            raise InputError(f"{self.root / 'train'} needs a folder a class, two or more; it has {len(names)}")
        for name in names:  # Cc: control characters; Cs: bytes that are no text
            if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
                raise InputError(f"{self.root / 'train'} has a class that cannot be printed, {name!a}: rename it")
        return names

    def prepare(self, split: Split = "train") -> None:
        """Decode what is not in the cache yet, and keep it for the next ``load``."""
        self._prepared[split] = self.load(split)

    def load(self, split: Split) -> ImageSet:
        """The images of a split, from the cache or decoded; (N, 3, image_size, image_size).

        Raises:
            InputError: a folder is missing or empty, or a file cannot be read as an image.
        """
        if split in self._prepared:
            return self._prepared.pop(split)
        files, labels = self._scan(split)
        fingerprint = self._fingerprint(split, files)
        caches = [folder / self._cache_name(split) for folder in self._cache_folders()]
        images = _read_caches(caches, fingerprint, len(labels))
        if images is None:
            with locked(*self._cache_folders()):
                images = _read_caches(caches, fingerprint, len(labels))  # written by another process, meanwhile
                if images is None:
                    images = _decode_all([Path(file.path) for file in files], self.image_size, split)
                    any(_write_cache(cache, fingerprint, images) for cache in caches)
        return ImageSet(images, labels, self.class_names)

    def _scan(self, split: Split) -> tuple[list[os.DirEntry[str]], Tensor]:
        names = self.class_names
        strangers = sorted({entry.name for entry in _folders(self.root / split)} - set(names))
        if strangers:
            raise InputError(f"{self.root / split} has classes that train has not: {', '.join(strangers)}")
        files: list[os.DirEntry[str]] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            folder = self.root / split / name
            found = [
                entry
                for entry in (os.scandir(folder) if folder.is_dir() else ())
                if is_image_name(entry.name) and _is_file(entry)
            ]
            if not found and split == "train":
                raise InputError(f"{folder} has no images ({' '.join(sorted(IMAGE_SUFFIXES))}); remove it or fill it")
            files += sorted(found, key=lambda entry: entry.name)
            labels += [label] * len(found)
        if not files:
            raise InputError(f"{self.root / split} has no images ({' '.join(sorted(IMAGE_SUFFIXES))})")
        return files, torch.tensor(labels)

    def _fingerprint(self, split: Split, files: list[os.DirEntry[str]]) -> str:
        digest = hashlib.sha256(f"{self.FORMAT} {self.image_size} {split}\n".encode())
        for entry in files:
            status = entry.stat()
            path = os.path.relpath(entry.path, self.root)
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def _cache_name(self, split: Split) -> str:
        return f"{split}-{self.image_size}px.npz"

    def _cache_folders(self) -> list[Path]:
        if self.cache is not None:
            return [self.cache]
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        key = hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:16]
        return [self.root / ".cifar_cnn_cache", home / "cifar_cnn" / key]


def _folders(root: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"{root}: {error.strerror or error}; ImageFolder needs --data.source.root DIR "
            "with DIR/train/<class>/ and DIR/test/<class>/"
        ) from error


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # links that go round in a circle
        return False


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: by its ending, and hidden ones are not."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def decode_image(path: Path, size: int) -> np.ndarray:
    """Read one image as uint8 RGB of (size, size, 3): turned upright, scaled and centre-cropped.

    Raises:
        UNREADABLE: the file is no image that Pillow can read.
    """
    if not path.is_file():  # to open a pipe would wait for somebody to write into it
        raise OSError(f"{path} is no file")
    with Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
        if image.mode.startswith(("I", "F")):  # 16 bits and more a pixel, which convert("RGB") would clip
            values = np.asarray(image, dtype=np.float32)
            full = 65535.0 if values.max(initial=0) > 255 else 255.0
            upright = Image.fromarray((values * (255 / full)).clip(0, 255).astype(np.uint8)).convert("RGB")
        else:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        if upright.size != (size, size):
            upright = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
        return np.asarray(upright)


def _decode_all(paths: list[Path], size: int, name: str) -> Tensor:
    images = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    rows = images.numpy()

    def decode(index: int) -> Path | None:
        try:
            rows[index] = decode_image(paths[index], size).transpose(2, 0, 1)
        except UNREADABLE:
            return paths[index]
        return None

    # Threads, since Pillow decodes without holding the interpreter's lock; processes would copy every image.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(decode, range(len(paths)))
        progress = tqdm(results, f"Decoding {name} images", len(paths), unit=" images", mininterval=0.5)
        broken = [path for path in progress if path is not None]
    if broken:
        listed = ", ".join(map(str, broken[:5])) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")
        raise InputError(
            f"{len(broken)} of {len(paths)} files cannot be read as images: {listed}; repair or remove them"
        )
    return images


def _read_caches(paths: list[Path], fingerprint: str, length: int) -> Tensor | None:
    found = (_read_cache(path, fingerprint) for path in paths)
    return next((images for images in found if images is not None and len(images) == length), None)


def _read_cache(path: Path, fingerprint: str) -> Tensor | None:
    try:
        with np.load(path, allow_pickle=False) as cache:
            if str(cache["fingerprint"]) == fingerprint:
                return torch.from_numpy(cache["images"])
    except Exception:  # missing, cut short, of another version: whatever is wrong, decode again
        pass
    return None


def _write_cache(path: Path, fingerprint: str, images: Tensor) -> bool:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            np.savez(file, fingerprint=np.array(fingerprint), images=images.numpy())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:  # a folder that cannot be written, a full disk: the run goes on without a cache
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        return False
    return True


class Shapes(Source):
    """Ten shapes drawn by code, so that everything runs offline: of random place, size, turn and colours, with noise.

    Foreground and background are drawn alike, so that no pixel by itself says anything of the class.

    Args:
        train_size: training images, shared evenly among the classes.
        test_size: test images, likewise.
        image_size: pixels a side.
        noise: standard deviation of the noise on each pixel, of a range of 255.
        seed: of the drawing. Training and test images are drawn from different streams.
    """

    def __init__(
        self,
        train_size: int = 10_000,
        test_size: int = 2_000,
        image_size: int = 32,
        noise: float = 24.0,
        seed: int = 0,
    ) -> None:
        if min(train_size, test_size) < len(self.class_names):
            raise InputError(f"Shapes needs {len(self.class_names)} images or more; not {train_size}, {test_size}")
        if noise < 0 or image_size < 8:
            raise InputError(
                f"Shapes needs noise of 0 or more and images of 8 pixels or more; not {noise}, {image_size}"
            )
        self.sizes = {"train": train_size, "test": test_size}
        self.image_size = image_size
        self.noise = noise
        self.seed = seed

    @property
    def class_names(self) -> tuple[str, ...]:
        """The ten shapes."""
        return (
            "disc",
            "square",
            "triangle",
            "ring",
            "frame",
            "plus",
            "star",
            "crescent",
            "stripes",
            "checkers",
        )

    def load(self, split: Split) -> ImageSet:
        """Draw the images; (N, 3, image_size, image_size)."""
        rng = np.random.default_rng([self.seed, ("train", "test").index(split)])
        labels = np.arange(self.sizes[split]) % len(self.class_names)
        # In portions, so that the float pictures of a large set are never all in memory.
        portions = [self._draw(portion, rng) for portion in np.array_split(labels, -(-len(labels) // 1000))]
        return ImageSet(torch.from_numpy(np.concatenate(portions)), torch.from_numpy(labels), self.class_names)

    def _draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, size = len(labels), self.image_size
        # Coordinates of each pixel in the frame of the shape, whose radius is 1.
        radius = rng.uniform(0.45, 0.8, n)
        center = rng.uniform(-1, 1, (n, 2)) * (1 - 0.8 * radius)[:, None]
        turn = rng.uniform(0, 2 * np.pi, n)
        axis = (np.arange(size) + 0.5) * 2 / size - 1
        dy, dx = np.broadcast_arrays(axis[:, None] - center[:, 0, None, None], axis[None, :] - center[:, 1, None, None])
        cos, sin = (f(turn)[:, None, None] / radius[:, None, None] for f in (np.cos, np.sin))
        x, y = cos * dx + sin * dy, cos * dy - sin * dx

        inside = np.zeros((n, size, size))
        for label, name in enumerate(self.class_names):
            rows = labels == label
            distance = _SHAPES[name](x[rows], y[rows])
            # One pixel of soft edge, from the distance in units of the radius.
            inside[rows] = (0.5 - distance * radius[rows, None, None] * size / 2).clip(0, 1)

        colors = rng.uniform(0, 255, (n, 2, 3))
        colors[:, 1] = (colors[:, 0] + rng.uniform(70, 185, (n, 3))) % 255  # foreground and background tell apart
        colors = np.take_along_axis(colors, rng.permuted(np.tile([0, 1], (n, 1)), axis=1)[:, :, None], axis=1)
        front, back = colors[:, 0, :, None, None], colors[:, 1, :, None, None]
        picture = back + (front - back) * inside[:, None] + rng.normal(0, self.noise, (n, 3, size, size))
        return picture.clip(0, 255).astype(np.uint8)


def _box(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    return np.maximum(abs(x) - width, abs(y) - height)


def _polygon(x: np.ndarray, y: np.ndarray, sides: int, depth: float) -> np.ndarray:
    """Distance to a star of ``sides`` points whose inner corners lie at ``depth`` of the radius (1: a polygon)."""
    sector = 2 * np.pi / sides
    angle = abs((np.arctan2(y, x) + sector / 2) % sector - sector / 2)
    r = np.hypot(x, y)
    px, py = r * np.cos(angle), r * np.sin(angle)
    # The edge from the tip (1, 0) to the inner corner at half a sector.
    inner = depth * np.cos(sector / 2)
    qx, qy = inner * np.cos(sector / 2), inner * np.sin(sector / 2)
    return ((px - 1) * qy - py * (qx - 1)) / np.hypot(qy, qx - 1)


# Signed distances (negative inside) in a frame where the shape has radius 1.
_SHAPES = {
    "disc": lambda x, y: np.hypot(x, y) - 0.85,
    "square": lambda x, y: _box(x, y, 0.75, 0.75),
    "triangle": lambda x, y: _polygon(x, y, 3, 1.0),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.7) - 0.2,
    "frame": lambda x, y: abs(_box(x, y, 0.6, 0.6)) - 0.17,
    "plus": lambda x, y: np.minimum(_box(x, y, 0.95, 0.25), _box(x, y, 0.25, 0.95)),
    "star": lambda x, y: _polygon(x, y, 5, 0.5),
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.9, 0.75 - np.hypot(x - 0.45, y)),
    "stripes": lambda x, y: np.maximum(_box(x, y, 0.85, 0.85), 0.17 - abs(y % 0.68 - 0.34)),
    "checkers": lambda x, y: np.maximum(_box(x, y, 0.85, 0.85), np.sign(np.sin(3.7 * x) * np.sin(3.7 * y)) * 0.05),
}
