import hashlib
import io
import os
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import solve
from torchvision import datasets

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.decoding import decode_image
from cifar_cnn.data.sources import CIFAR10, CIFAR100, ImageFolder, Shapes

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PER_FILE = 20
ARCHIVE = "cifar-10-python.tar.gz"
WORMS = "non-insect_invertebrates"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def make_archive(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Create a small CIFAR-10 archive in the official format, and make torchvision expect its MD5 sums."""
    rng = np.random.default_rng(0)
    files: dict[str, dict[str, Any]] = {"batches.meta": {"label_names": NAMES}}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        data = rng.integers(0, 256, (PER_FILE, 3072), dtype=np.uint8)
        files[name] = {"data": data, "labels": rng.integers(0, 10, PER_FILE).tolist()}
    return expected(monkeypatch, datasets.CIFAR10, files)


def make_archive_100(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Create a small CIFAR-100 archive in the official format; it starts with an apple, a fish, a baby and a bear."""
    files: dict[str, dict[str, Any]] = {"meta": {"fine_label_names": list(CIFAR100().class_names)}}
    for name in ("train", "test"):
        data = np.random.default_rng(len(name)).integers(0, 256, (100, 3072), dtype=np.uint8)
        files[name] = {"data": data, "fine_labels": list(range(100)), "coarse_labels": [4, 1, 14, 8, *[0] * 96]}
    return expected(monkeypatch, datasets.CIFAR100, files)


def expected(monkeypatch: pytest.MonkeyPatch, cls: type[datasets.CIFAR10], files: dict[str, dict[str, Any]]) -> bytes:
    """Create an archive of these files, and make torchvision expect its MD5 sums."""
    content = {name: pickle.dumps(file) for name, file in files.items()}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, file in content.items():
            info = tarfile.TarInfo(f"{cls.base_folder}/{name}")
            info.size = len(file)
            tar.addfile(info, io.BytesIO(file))
    monkeypatch.setattr(cls, "tgz_md5", md5(stream.getvalue()))
    monkeypatch.setattr(cls, "train_list", [[name, md5(content[name])] for name, _ in cls.train_list])
    monkeypatch.setattr(cls, "test_list", [[name, md5(content[name])] for name, _ in cls.test_list])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5(content[cls.meta["filename"]])})
    return stream.getvalue()


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> bytes:
    return make_archive(monkeypatch)


class Server:
    """An HTTP server on the loopback address that returns the content that a test has set for each path."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}  # bytes after which the connection is closed
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                outer.requests.append(self.path)
                self.answer(with_body=True)

            def answer(self, with_body: bool) -> None:
                if self.path not in outer.content:
                    self.send_error(404)
                    return
                body = outer.content[self.path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body[: outer.cut.get(self.path, len(body))])

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_download_verifies_and_reads_the_archive(archive: bytes, server: Server, tmp_path: Path) -> None:
    server.content["/good"] = archive
    source = CIFAR10(tmp_path, server.url("/good"))
    source.prepare()
    train, test = source.load("train"), source.load("test")
    assert train.images.shape == (5 * PER_FILE, 3, 32, 32)
    assert train.images.dtype == torch.uint8
    assert train.images.is_contiguous()
    assert test.images.shape == (PER_FILE, 3, 32, 32)
    assert train.class_names == tuple(NAMES)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile("cifar-10-batches-py/test_batch")
        assert file is not None
        entry = pickle.load(file)
    assert torch.equal(test.images, torch.from_numpy(entry["data"]).reshape(-1, 3, 32, 32))
    assert test.labels.tolist() == entry["labels"]
    server.content.clear()
    source.prepare()


def test_cifar_100_has_fine_and_coarse_labels(
    monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path, archive: bytes
) -> None:
    server.content["/good"] = make_archive_100(monkeypatch)
    fine = CIFAR100(tmp_path, server.url("/good"))
    fine.prepare()
    coarse = CIFAR100(tmp_path, "http://127.0.0.1:9/dead", labels="coarse")
    coarse.prepare()
    images, superclasses = fine.load("train"), coarse.load("train")
    assert images.images.shape == (100, 3, 32, 32)
    assert torch.equal(images.images, superclasses.images)
    assert (len(fine.class_names), len(coarse.class_names)) == (100, 20)
    assert superclasses.labels[:4].tolist() == [4, 1, 14, 8]
    assert superclasses.labels.bincount().tolist() == [5] * 20
    named = [(fine.class_names[i], coarse.class_names[superclasses.labels[i]]) for i in (0, 30, 99)]
    assert named == [("apple", "fruit_and_vegetables"), ("dolphin", "aquatic_mammals"), ("worm", WORMS)]
    message = "CIFAR-100 could not be downloaded .*put cifar-100-python.tar.gz into"
    with pytest.raises(InputError, match=message):
        CIFAR100(tmp_path / "new", "http://127.0.0.1:9/dead").prepare()


def test_an_existing_archive_needs_no_network(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(archive)
    source = CIFAR10(tmp_path, "http://127.0.0.1:9/nothing")
    source.prepare()
    assert len(source.load("train")) == 5 * PER_FILE


def test_files_that_were_damaged_after_extraction_are_extracted_again(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(archive)
    source = CIFAR10(tmp_path)
    source.prepare()
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"half")
    source.prepare()
    assert len(source.load("train")) == 5 * PER_FILE


def test_mirrors_are_tried_in_turn(archive: bytes, server: Server, tmp_path: Path) -> None:
    server.content |= {"/wrong": b"something else", "/cut": archive, "/good": archive}
    server.cut["/cut"] = len(archive) // 2
    mirrors = ["http://127.0.0.1:9/dead", "no address", *(server.url(p) for p in ("/none", "/wrong", "/cut", "/good"))]
    source = CIFAR10(tmp_path, mirrors)
    source.prepare()
    assert len(source.load("test")) == PER_FILE
    # torchvision sends two requests for each address; the first one looks for redirects.
    assert list(dict.fromkeys(server.requests)) == ["/none", "/wrong", "/cut", "/good"]


@pytest.mark.parametrize(
    ("path", "reason"), [("/none", "HTTP 404"), ("/wrong", "damaged"), ("/cut", "damaged"), (None, "refused")]
)
def test_a_failed_download_is_one_line_with_advice_and_the_next_run_recovers(
    archive: bytes, server: Server, tmp_path: Path, path: str | None, reason: str
) -> None:
    tmp_path = tmp_path / "data"
    server.content |= {"/wrong": b"something else", "/cut": archive}
    server.cut["/cut"] = len(archive) // 2
    url = server.url(path) if path else "http://127.0.0.1:9/dead"
    with pytest.raises(InputError) as caught:
        CIFAR10(tmp_path, url).prepare()
    message = str(caught.value)
    assert "\n" not in message
    for part in (url, reason, f"put {ARCHIVE} into {tmp_path}", "set url to a mirror", "ImageFolder", "Shapes"):
        assert part in message
    assert caught.value.options == ("data.source.url", "data.source")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    server.content["/good"] = archive
    CIFAR10(tmp_path, server.url("/good")).prepare()
    assert (tmp_path / ARCHIVE).read_bytes() == archive


def test_a_damaged_archive_from_the_user_is_named_and_kept(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(archive[:-1])
    with pytest.raises(InputError, match=f"{tmp_path / ARCHIVE} is damaged, remove it"):
        CIFAR10(tmp_path, "http://127.0.0.1:9/dead").prepare()
    assert (tmp_path / ARCHIVE).read_bytes() == archive[:-1]


def test_a_root_that_is_a_file_is_one_line(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot prepare CIFAR-10 in .*set root to another folder"):
        CIFAR10(tmp_path / "file" / "data", "http://127.0.0.1:9/dead").prepare()


def test_image_folder_reads_any_format_and_size(image_folder: Path) -> None:
    source = ImageFolder(image_folder, image_size=16)
    train, test = source.load("train"), source.load("test")
    assert source.class_names == ("blue thing", "röt")
    assert train.images.shape == (40, 3, 16, 16)
    assert test.images.shape == (20, 3, 16, 16)
    assert train.labels.bincount().tolist() == [20, 20]
    red = train.images[:, 0].float().mean((1, 2))
    assert torch.equal(red > 128, train.labels == 1)


def test_an_image_of_the_right_size_is_not_changed(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(decode_image(tmp_path / "a.png", 16), pixels)


def saved(image: Image.Image, path: Path, **options: Any) -> np.ndarray:
    """One channel of an image after saving and decoding."""
    image.save(path, **options)
    return decode_image(path, image.height)[..., 0]


def test_floats_of_0_to_1_or_to_255_become_levels(tmp_path: Path) -> None:
    unit = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    levels = np.rint(unit * 255)
    assert np.array_equal(saved(Image.fromarray(unit), tmp_path / "a.tif"), levels)
    assert np.array_equal(saved(Image.fromarray(levels.astype(np.float32)), tmp_path / "b.tif"), levels)
    assert np.array_equal(saved(Image.fromarray(unit - 1), tmp_path / "c.tif"), np.zeros((8, 8)))
    assert np.array_equal(saved(Image.fromarray(unit), tmp_path / "a.pfm"), levels)


@pytest.mark.parametrize(("dtype", "suffix"), [("<u2", "png"), ("<u2", "tif"), (">u2", "tif"), ("<u2", "pgm")])
@pytest.mark.parametrize("step", [4, 257, 1040])  # from nearly black to the maximum
def test_16_bits_are_scaled_by_their_depth(tmp_path: Path, dtype: str, suffix: str, step: int) -> None:
    values = np.arange(64).reshape(8, 8) * step
    found = saved(Image.fromarray(values.astype(dtype)), tmp_path / f"a.{suffix}")
    assert np.array_equal(found, values >> 8)


def test_16_bits_are_turned_upright(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    for image in (Image.fromarray(values), Image.fromarray((values >> 8).astype(np.uint8))):
        assert np.array_equal(saved(image, tmp_path / "a.png", exif=exif), np.rot90(values >> 8, -1))


def test_32_bit_integers_are_levels_up_to_255(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.int32).reshape(8, 8) * 4
    assert np.array_equal(saved(Image.fromarray(values), tmp_path / "a.tif"), values)
    for image in (values * 1000, values.astype(np.float32) * 1000, np.full((8, 8), np.nan, np.float32)):
        with pytest.raises(InputError, match="values above 255 or not finite: save it with 8 or 16 bits per pixel"):
            saved(Image.fromarray(image), tmp_path / "b.tif")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_is_dropped(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.full((8, 8), 200, np.uint8)).convert(mode)
    options = {"transparency": bytes(256)} if mode == "P" else {}
    if not options:
        image.putalpha(0)
    assert (saved(image, tmp_path / "a.png", **options) == 200).all()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_images_of_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    gray = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(gray.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(gray).convert("RGB").convert(mode, palette=Image.Palette.ADAPTIVE)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    difference = decode_image(path, 8)[..., 1].astype(int) - gray
    assert abs(difference).max() <= (255 if mode == "1" else 6)


def test_the_cache_is_used_until_something_changes(image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def decodes(**arguments: Any) -> bool:
        capsys.readouterr()
        ImageFolder(image_folder, **arguments).load("train")
        return "Decoding train images" in capsys.readouterr().err

    assert decodes()
    assert not decodes()
    assert decodes(image_size=16)
    assert not decodes()
    changed = image_folder / "train" / "röt" / "0.png"
    Image.new("RGB", (5, 5), "white").save(changed)
    assert decodes()
    assert not decodes()
    changed.unlink()
    assert decodes()
    before = changed.with_name("0.bmp").stat()
    pixels = np.full((60, 20, 3), 7, np.uint8)
    Image.fromarray(pixels).save(changed.with_name("0.bmp"))
    os.utime(changed.with_name("0.bmp"), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changed.with_name("0.bmp").stat().st_size == before.st_size
    assert decodes()  # although the name, the size and the time are the same
    assert not decodes()
    assert decodes(cache=image_folder.parent / "elsewhere")
    assert not decodes(cache=image_folder.parent / "elsewhere")


def test_image_folder_reads_gray_images(image_folder: Path) -> None:
    color, gray = (ImageFolder(image_folder, image_size=16, channels=c).load("train") for c in (3, 1))
    assert gray.images.shape == (40, 1, 16, 16)
    luma = (color.images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    assert (gray.images - luma).abs().max() <= 2  # scaled after the conversion to gray, not before
    assert torch.equal(ImageFolder(image_folder, image_size=16).load("train").images, color.images)  # separate caches


def test_two_folders_share_a_cache(image_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(image_folder, other)  # also copies the times of the files
    for path in other.rglob("*.bmp"):
        time = path.stat().st_mtime_ns
        Image.fromarray(np.full((60, 20, 3), 7, np.uint8)).save(path)
        os.utime(path, ns=(time, time))
    cache = tmp_path / "cache"
    first, second = (ImageFolder(root, cache=cache).load("train").images for root in (image_folder, other))
    assert not torch.equal(first, second)
    assert torch.equal(first, ImageFolder(image_folder, cache=cache).load("train").images)
    assert len(list(cache.glob("train-32px*.npz"))) == 2


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b""])
def test_a_damaged_cache_is_replaced(image_folder: Path, damage: Any) -> None:
    expected = ImageFolder(image_folder).load("train")
    (cache,) = (image_folder / ".cifar_cnn_cache").glob("train-*")
    cache.write_bytes(damage(cache.read_bytes()))
    assert torch.equal(ImageFolder(image_folder).load("train").images, expected.images)
    assert not list(cache.parent.glob("*.part"))


def test_without_a_writable_folder_the_cache_goes_to_the_users(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image_folder / ".cifar_cnn_cache").touch()  # a file at this path: as unusable as a read-only disk, even for root
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ImageFolder(image_folder).load("train")
    (cache,) = (tmp_path / "cache").rglob("*.npz")
    assert cache.name.startswith("train-32px")


def test_broken_images_are_named_in_one_line(image_folder: Path) -> None:
    for name in ("empty.png", "text.jpg"):
        (image_folder / "train" / "röt" / name).write_text("no image" if name == "text.jpg" else "")
    with pytest.raises(InputError) as caught:
        ImageFolder(image_folder).load("train")
    message = str(caught.value)
    assert message.startswith("2 of 42 files cannot be read as images")
    assert "empty.png" in message
    assert "text.jpg" in message
    assert "\n" not in message


def test_other_files_are_skipped(image_folder: Path) -> None:
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (image_folder / "train" / "röt" / name).write_text("no image")
    assert len(ImageFolder(image_folder).load("train")) == 40


def test_folders_below_a_class_belong_to_it_and_skipped_files_are_counted(
    image_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    below = image_folder / "train" / "röt" / "more" / "still"
    below.mkdir(parents=True)
    Image.new("RGB", (9, 9), "red").save(below / "a.pbm", format="PPM")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (9, 9), "red").save(elsewhere / "b.pnm", format="PPM")
    (image_folder / "train" / "röt" / "linked").symlink_to(elsewhere)
    (below / "back").symlink_to(image_folder / "train" / "röt")
    (below / "dangling.png").symlink_to("nowhere")
    (below / "photo.HEIC").touch()
    (below / "notes.txt").touch()
    Image.new("RGB", (9, 9)).save(image_folder / "train" / "outside.png")
    image_set = ImageFolder(image_folder).load("train")
    assert image_set.labels.bincount().tolist() == [20, 22]
    assert (image_set.images[-2:, 0] > 250).all()
    (message,) = (record.getMessage() for record in caplog.records)
    assert message == (
        f"{image_folder / 'train'}: skipped 5 files: broken link (1), circular link (1), extension .heic (1), "
        "extension .txt (1), outside of the classes' folders (1)"
    )


@pytest.mark.parametrize(
    ("source", "split"), [(partial(Shapes, 100, 100, image_size=100_000), "test"), (partial(Shapes, 10**12), "train")]
)
def test_more_images_than_memory_are_one_line(source: Callable[[], Shapes], split: Any) -> None:
    with pytest.raises(InputError, match=r"need [\d,.]+ TB of memory; .* are available: lower image_size"):
        source().load(split)


def test_larger_images_than_memory_are_one_line(image_folder: Path) -> None:
    with pytest.raises(InputError, match=r"40 images of 100000x100000 pixels need 2.4 TB of memory"):
        ImageFolder(image_folder, image_size=100_000).load("train")


def test_folders_with_another_layout_are_rejected(image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ImageFolder needs root, a folder DIR with DIR/train/<class>/"):
        ImageFolder(tmp_path / "nowhere").prepare()
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="needs one folder per class, at least two; it has 0"):
        ImageFolder(tmp_path / "empty").prepare()
    (image_folder / "test" / "green").mkdir()
    with pytest.raises(InputError, match="has classes that train does not have: green"):
        ImageFolder(image_folder).load("test")
    (image_folder / "train" / "green").mkdir()
    with pytest.raises(InputError, match=r"train/green has no images"):
        ImageFolder(image_folder).load("train")


def test_shapes_are_the_same_for_a_seed_and_never_shared_by_train_and_test() -> None:
    first, again, other = (Shapes(100, 100, seed=seed).load("train") for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert not torch.equal(first.images, Shapes(100, 100).load("test").images)
    assert first.images.shape == (100, 3, 32, 32)
    assert first.labels.bincount().tolist() == [10] * 10


def test_no_linear_model_learns_the_shapes() -> None:
    source = Shapes(4000, 1000)
    (x, y), (x_test, y_test) = (
        ((part.images.flatten(1).double() / 255 - 0.5).numpy(), part.labels.numpy())
        for part in (source.load("train"), source.load("test"))
    )
    # Ridge regression onto the one-hot classes, with the best of several penalties.
    gram, targets = x.T @ x, x.T @ np.eye(10)[y]
    accuracies = []
    for penalty in (1e1, 1e2, 1e3, 1e4):
        weights = solve(gram + penalty * np.eye(len(gram)), targets, assume_a="pos")
        accuracies.append(((x_test @ weights).argmax(1) == y_test).mean())
    assert max(accuracies) < 0.3  # the quickstart's network is far better


def test_too_few_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="10 or more images per split, not 9 and 50"):
        Shapes(9, 50)
