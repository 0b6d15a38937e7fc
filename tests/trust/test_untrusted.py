"""Untrusted checkpoints, configs, archives, images and folders run no code; bad ones are reported in one line."""

import io
import os
import pickle
import shutil
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import cifar_cnn.cli
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.decoding import UNREADABLE, decode_image
from cifar_cnn.data.sources import CIFAR10, ImageFolder
from tests.conftest import CONFIGS, SMALL, checkpoint_content

Capture = pytest.CaptureFixture[str]
Command = Callable[..., int]
MARK = "executed"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    def run(*args: Any) -> int:
        words = [str(arg) for arg in args]
        monkeypatch.setattr(sys, "argv", ["cifar-cnn", *words])
        return cifar_cnn.cli.run(words)

    return run


class Payload:
    """An object that runs code when pickle loads it."""

    def __init__(self, function: Any = os.mkdir, *arguments: Any) -> None:
        self.call = (function, arguments or (MARK,))

    def __reduce__(self) -> Any:
        return self.call


def saved(**changes: Any) -> bytes:
    stream = io.BytesIO()
    torch.save({**checkpoint_content(), **changes}, stream)
    return stream.getvalue()


def legacy() -> bytes:
    stream = io.BytesIO()
    torch.save({**checkpoint_content(), "callbacks": Payload()}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def archive_of(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "/"), content)
    return stream.getvalue()


def backbone(class_path: str, **init_args: Any) -> bytes:
    return saved(hyper_parameters={"backbone": {"class_path": class_path, "init_args": init_args}})


CHECKPOINTS: dict[str, Callable[[], bytes]] = {
    "plain pickle": lambda: pickle.dumps(Payload()),
    "old format": legacy,
    "instead of weights": lambda: saved(state_dict=Payload()),
    "among weights": lambda: saved(state_dict={"backbone.weight": Payload()}),
    "instead of options": lambda: saved(hyper_parameters=Payload()),
    "among options": lambda: saved(hyper_parameters={"backbone": [Payload()]}),
    "among the data's options": lambda: saved(datamodule_hyper_parameters={"source": Payload()}),
    "among callbacks": lambda: saved(callbacks={"x": Payload()}),
    "among optimizers": lambda: saved(optimizer_states=[Payload()]),
    "loops": lambda: saved(loops={"fit_loop": (Payload(),)}),
    "as a name": lambda: saved(**{"CIFAR10DataModule": {"class_names": [Payload()]}}),
    "eval": lambda: saved(x=Payload(eval, f"__import__('os').mkdir('{MARK}')")),
    "system": lambda: saved(x=Payload(os.system, f"mkdir {MARK}")),
    "a zip of pickles": lambda: archive_of(archive_data=pickle.dumps(Payload())),
    "a foreign zip": lambda: archive_of(readme=b"text"),
    "empty": lambda: b"",
    "text": lambda: b"<html>404</html>",
    "cut": lambda: saved()[:-1000],
    "one bit": lambda: flipped(),
    "weights as a tensor": lambda: saved(state_dict=torch.zeros(2)),
    "a tensor": lambda: _torch(torch.zeros(3)),
    "a list": lambda: _torch([1, 2, 3]),
    "options as a list": lambda: saved(hyper_parameters=[1]),
    "no options": lambda: _torch({"state_dict": {}}),
    "step as text": lambda: saved(global_step="many"),
    "backbone os.system": lambda: backbone("os.system", command=f"mkdir {MARK}"),
    "backbone subprocess.Popen": lambda: backbone("subprocess.Popen", args=["mkdir", MARK]),
    "backbone builtins.eval": lambda: backbone("builtins.eval", source="1"),
    "backbone of no module": lambda: backbone("nowhere.Net"),
    "backbone not a network": lambda: backbone("collections.OrderedDict"),
    "backbone as a number": lambda: saved(hyper_parameters={"backbone": 3}),
    "loss os.mkdir": lambda: saved(
        hyper_parameters={
            **checkpoint_content()["hyper_parameters"],
            "loss": {"class_path": "os.mkdir", "init_args": {"path": MARK}},
        }
    ),
    "instantiator": lambda: saved(
        hyper_parameters={"backbone": {"class_path": "os.mkdir"}, "_instantiator": "os.mkdir"}
    ),
    "unknown options": lambda: saved(hyper_parameters={**checkpoint_content()["hyper_parameters"], "wings": 2}),
    "weights of another network": lambda: backbone("cifar_cnn.backbones.ResNet18"),
}


def flipped() -> bytes:
    """Flip one bit of the largest weight tensor."""
    content = bytearray(saved())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    name, extra = struct.unpack("<HH", content[largest.header_offset + 26 : largest.header_offset + 30])
    content[largest.header_offset + 30 + name + extra + largest.file_size // 2] ^= 1
    return bytes(content)


def _torch(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def is_one_line(error: str) -> bool:
    lines = [line for line in error.splitlines() if line.strip()]
    return len(lines) == 1 and lines[0].startswith("cifar-cnn: error: ") and MARK not in os.listdir()


@pytest.mark.parametrize("make", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_bad_checkpoint_runs_nothing_and_is_one_line(
    make: Callable[[], bytes], command: Command, capsys: Capture
) -> None:
    Path("bad.ckpt").write_bytes(make())
    Image.new("RGB", (32, 32)).save("image.png")
    for words in (["predict", "image.png"], ["test"], ["fit", "--config", CONFIGS / "quickstart.yaml", *SMALL]):
        assert command(*words, "--ckpt_path", "bad.ckpt") == 2, words
        assert is_one_line(capsys.readouterr().err)
    assert not Path("lightning_logs").exists() or not os.listdir("lightning_logs")


def test_the_unmodified_checkpoint_is_accepted(command: Command, capsys: Capture) -> None:
    Path("good.ckpt").write_bytes(saved())
    Image.new("RGB", (32, 32)).save("image.png")
    assert command("predict", "image.png", "--ckpt_path", "good.ckpt") == 0
    assert command("test", "--ckpt_path", "http://127.0.0.1:9/evil.ckpt") == 2
    assert "no checkpoint http" in capsys.readouterr().err


CONFIG_TEXTS = {
    "python/object/apply": "model: !!python/object/apply:os.mkdir [executed]",
    "python/object/new": "model: {backbone: !!python/object/new:os.mkdir [executed]}",
    "python/name": "model: {loss: !!python/name:os.mkdir }",
    "backbone os.mkdir": "model: {backbone: {class_path: os.mkdir, init_args: {path: executed}}}",
    "backbone os.system": "model: {backbone: {class_path: os.system, init_args: {command: mkdir executed}}}",
    "backbone Popen": "model: {backbone: {class_path: subprocess.Popen, init_args: {args: [mkdir, executed]}}}",
    "backbone eval": "model: {backbone: builtins.eval}",
    "backbone a dict": "model: {backbone: collections.OrderedDict}",
    "loss os.mkdir": "model: {backbone: SimpleCNN, loss: {class_path: os.mkdir, init_args: {path: executed}}}",
    "optimizer Popen": "model: {backbone: SimpleCNN, optimizer: {class_path: subprocess.Popen}}",
    "schedule eval": "model: {backbone: SimpleCNN, schedule: builtins.eval}",
    "source Popen": "data: {source: {class_path: subprocess.Popen, init_args: {args: [mkdir, executed]}}}",
    "callback Popen": "trainer: {callbacks: [{class_path: subprocess.Popen, init_args: {args: [mkdir, executed]}}]}",
    "logger os.mkdir": "trainer: {logger: {class_path: os.mkdir, init_args: {path: executed}}}",
}


@pytest.mark.parametrize("text", CONFIG_TEXTS.values(), ids=CONFIG_TEXTS)
def test_a_config_can_name_only_declared_options(text: str, command: Command, capsys: Capture) -> None:
    Path("bad.yaml").write_text(text)
    assert command("fit", "--config", CONFIGS / "quickstart.yaml", "--config", "bad.yaml", *SMALL[4:]) == 2
    assert is_one_line(capsys.readouterr().err)


EVIL = f"""
import os
os.makedirs({MARK!r}, exist_ok=True)
from torch import nn
class Net(nn.Linear):
    def __init__(self): super().__init__(3072, 10)
def net(*args, **kwargs) -> nn.Module: return Net()
"""


@pytest.fixture
def evil(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Create modules in the current folder and beside the runs that leave a mark when they are imported."""
    for folder in (Path(), Path("lightning_logs")):
        folder.mkdir(exist_ok=True)
        (folder / "evil.py").write_text(EVIL)
        (folder / "hubconf.py").write_text(EVIL)
    torch.save({"x": Payload()}, "payload.pt")
    Image.new("RGB", (32, 32)).save("image.png")
    monkeypatch.syspath_prepend(Path.cwd())
    loaded = set(sys.modules)
    yield
    for name in set(sys.modules) - loaded:
        if "evil" in name or name.startswith("lightning_logs"):
            del sys.modules[name]


def naming(part: str, class_path: Any, **init_args: Any) -> dict[str, Any]:
    """Arguments of the model with a foreign object as ``part`` (of the backbone if it begins with a dot)."""
    value = {"class_path": class_path, "init_args": init_args} if init_args else class_path
    if not part.startswith("."):
        return {**checkpoint_content()["hyper_parameters"], part: value}
    owner, _, name = part[1:].rpartition(".")
    return {"backbone": {"class_path": owner, **_arguments(owner, name, value)}}


def _arguments(owner: str, name: str, value: Any) -> dict[str, Any]:
    layer = {"class_path": "torch.nn.TransformerEncoderLayer", "init_args": {"d_model": 8, "nhead": 2}}
    if owner == "torch.nn.TransformerEncoder":
        return {"init_args": {"encoder_layer": layer, "num_layers": 1, name: value}}
    if owner == "torch.nn.TransformerEncoderLayer":
        return {"init_args": {**layer["init_args"], name: value}}  # type: ignore[dict-item]
    if owner == "torch.nn.Linear":
        return {"init_args": {"in_features": 1, "out_features": 1, name: value}}
    return {"dict_kwargs" if owner == "torchvision.models.resnet18" else "init_args": {name: value}}


SPEC = {"class_path": "evil.Net"}
HUB = {"repo_or_dir": ".", "model": "net", "source": "local", "trust_repo": True}
PARTS: dict[str, dict[str, Any]] = {
    "backbone": naming("backbone", SPEC),
    "backbone by its name": naming("backbone", "evil.Net"),
    "backbone, a function": naming("backbone", {"class_path": "evil.net"}),
    "backbone beside the run": naming("backbone", "lightning_logs.evil.Net"),
    "backbone of a package that is installed": naming("backbone", "idlelib.idle.Net"),
    "backbone __main__": naming("backbone", "pytest.__main__.Net"),
    "backbone by torch.hub": naming("backbone", "torch.hub.load", **HUB),
    "backbone by torch.load": naming("backbone", "torch.load", f="payload.pt", weights_only=False),
    "backbone by a class's method": naming(
        "backbone", "cifar_cnn.classifier.ImageClassifier.load_from_checkpoint", checkpoint_path="payload.pt"
    ),
    "backbone that loads": naming("backbone", "timm.create_model", model_name="resnet18", checkpoint_path="payload.pt"),
    "class of the model": {**checkpoint_content()["hyper_parameters"], "_class_path": "evil.Net"},
    "loss": naming("loss", SPEC),
    "loss by its name": naming("loss", "evil.Net"),
    "loss, a function": naming("loss", "evil.net"),
    **{
        f"loss, the function {path}": naming("loss", "cifar_cnn.parts.losses.FunctionLoss", function=path, options={})
        for path in (
            *(
                "evil.net",
                "os.mkdir",
                "torch.hub.load",
                "torch.nn.functional.warnings.warn",
                "cifar_cnn.base.files.move",
            ),
            *("torch.nn.functional.torch.hub.load", "lightning.pytorch.cli.instantiate_class", "torch.nn.init.zeros_"),
        )
    },
    "loss, a function by its name": naming("loss", "cifar_cnn.base.files.move"),
    "a module's loss": naming(
        ".torch.nn.TransformerEncoder.norm",
        "cifar_cnn.parts.losses.FunctionLoss",
        function="cifar_cnn.base.files.move",
    ),
    "optimizer": naming("optimizer", SPEC),
    "optimizer by its name": naming("optimizer", "evil.Net"),
    "optimizer, a function": naming("optimizer", "evil.net"),
    "optimizer by torch.hub": naming("optimizer", "torch.hub.load", **HUB),
    "optimizer by a function of ours": naming("optimizer", "cifar_cnn.base.files.move", source="evil.py", target=MARK),
    "optimizer by a function without types": naming("optimizer", "torch.nn.init.zeros_", tensor=[0.0]),
    "schedule": naming("schedule", SPEC),
    "schedule by its name": naming("schedule", "evil.net"),
    "schedule of the standard library": naming("schedule", "shutil.rmtree", path="lightning_logs"),
    "schedule by a function of ours": naming("schedule", "cifar_cnn.base.files.move", source="evil.py", target=MARK),
    "a module's module": naming(".torch.nn.TransformerEncoder.norm", SPEC),
    "a module's module by its name": naming(".torch.nn.TransformerEncoder.norm", "evil.Net"),
    "a module's module's module": naming(
        ".torch.nn.TransformerEncoder.norm",
        "torch.nn.TransformerDecoder",
        decoder_layer={"class_path": "torch.nn.TransformerDecoderLayer", "init_args": {"d_model": 8, "nhead": 2}},
        num_layers=1,
        norm=SPEC,
    ),
    "a module's function": naming(".torch.nn.TransformerEncoderLayer.activation", "evil.net"),
    "a module's function as a class": naming(".torch.nn.TransformerEncoderLayer.activation", SPEC),
    "where anything is allowed": naming(".torch.nn.Linear.device", SPEC),
    "deep where anything is allowed": naming(".torch.nn.Linear.device", [{"x": [SPEC]}]),
    "torch.hub where anything is allowed": naming(".torch.nn.Linear.device", "torch.hub.load", **HUB),
    "a module's keywords": naming(".torchvision.models.resnet18.norm_layer", "evil.Net"),
    "a module's keywords as a class": naming(".torchvision.models.resnet18.norm_layer", SPEC),
}
SOURCES = {
    "source": {"source": SPEC},
    "source by its name": {"source": "evil.Net"},
    "source by torch.hub": {"source": {"class_path": "torch.hub.load", "init_args": HUB}},
    "augment": {"augment": {"class_path": "evil.Net"}},
    "transform": {"augment": {"transforms": [SPEC]}},
    "transform by its name": {"augment": {"normalized_transforms": "evil.Net"}},
    "transform, a function": {"augment": {"transforms": ["evil.net"]}},
    **{
        f"transform, the function {path}": {
            "augment": {
                "transforms": {
                    "class_path": "cifar_cnn.augmentations.functions.FunctionTransform",
                    "init_args": {"function": path},
                }
            }
        }
        for path in ("evil.net", "os.mkdir", "torch.hub.load", "cifar_cnn.base.files.move", "torch.nn.init.zeros_")
    },
    "transform by the name of a function of ours": {"augment": {"transforms": "cifar_cnn.base.files.move"}},
    "a transform's transform": {
        "augment": {"transforms": {"class_path": "RandomApply", "init_args": {"transforms": [SPEC]}}}
    },
    "a transform's function": {"augment": {"transforms": {"class_path": "Lambda", "init_args": {"lambd": "evil.net"}}}},
    "mix": {"augment": {"mix": SPEC}},
}


@pytest.mark.usefixtures("evil")
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_a_foreign_checkpoint_imports_and_calls_nothing(
    parts: dict[str, Any], command: Command, capsys: Capture
) -> None:
    Path("bad.ckpt").write_bytes(saved(hyper_parameters=parts))
    for words in (["predict", "image.png"], ["test", *SMALL]):
        assert command(*words, "--ckpt_path", "bad.ckpt") == 2, words
        assert is_one_line(capsys.readouterr().err)
    assert Path("evil.py").is_file()


@pytest.mark.usefixtures("evil")
@pytest.mark.parametrize("parts", SOURCES.values(), ids=SOURCES)
def test_a_foreign_checkpoint_cannot_name_a_source(parts: dict[str, Any], command: Command, capsys: Capture) -> None:
    run = Path("lightning_logs/version_0")
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    (run / "checkpoints" / "best.ckpt").write_bytes(saved(datamodule_hyper_parameters=parts))
    for words in (["test"], ["report", run], ["explain", run], ["export", run, "--format", "torch_export"]):
        assert command(*words) == 2, words
        assert is_one_line(capsys.readouterr().err)


EVIL_CONFIGS = {
    "callback": "trainer: {callbacks: [{class_path: evil.Net}]}",
    "callback by its name": "trainer: {callbacks: evil.Net}",
    "logger": "trainer: {logger: {class_path: evil.Net}}",
    "profiler": "trainer: {profiler: {class_path: evil.Net}}",
    "plugin": "trainer: {plugins: [{class_path: evil.Net}]}",
    "strategy": "trainer: {strategy: {class_path: evil.Net}}",
    "accelerator": "trainer: {accelerator: {class_path: evil.Net}}",
    "backbone": "model: {backbone: evil.Net}",
    "source": "data: {source: evil.Net}",
}


@pytest.mark.usefixtures("evil")
@pytest.mark.parametrize("text", EVIL_CONFIGS.values(), ids=EVIL_CONFIGS)
def test_the_config_of_a_foreign_checkpoint_imports_nothing(text: str, command: Command, capsys: Capture) -> None:
    run = Path("lightning_logs/version_0")
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(text)
    (run / "checkpoints" / "last.ckpt").write_bytes(saved())
    assert command("fit", "--ckpt_path", "last", *SMALL) == 2
    error = capsys.readouterr().err
    assert is_one_line(error)
    assert "evil.net was not imported" in error or "evil.Net was not imported" in error
    assert "CIFAR_CNN_TRUST=evil" in error


@pytest.mark.usefixtures("evil")
def test_the_config_of_a_foreign_checkpoint_passes_no_function_to_a_callback(command: Command, capsys: Capture) -> None:
    run = Path("lightning_logs/version_0")
    (run / "checkpoints").mkdir(parents=True)
    callback = "{class_path: lightning.pytorch.callbacks.LambdaCallback, init_args: {setup: evil.net}}"
    (run / "config.yaml").write_text(f"trainer: {{callbacks: [{callback}]}}")
    (run / "checkpoints" / "last.ckpt").write_bytes(saved())
    assert command("fit", "--ckpt_path", "last", *SMALL) == 2  # the images have other classes
    assert "ignoring its trainer.callbacks" in capsys.readouterr().err
    assert MARK not in os.listdir()
    assert "evil" not in sys.modules


HUB_SPEC = "{class_path: torch.hub.load, init_args: {repo_or_dir: ., model: net, source: local}}"
LOAD_SPEC = "{class_path: torch.load, init_args: {f: payload.pt, weights_only: false}}"
UNCALLED = {
    "backbone": f"model: {{backbone: {HUB_SPEC}}}",
    "optimizer": f"model: {{optimizer: {HUB_SPEC}}}",
    "schedule": f"model: {{schedule: {LOAD_SPEC}}}",
    "anything": "model: {backbone: {class_path: torch.nn.Linear, "
    f"init_args: {{in_features: 1, out_features: 1, device: {HUB_SPEC}}}}}}}",
    "method": "model: {backbone: {class_path: lightning.pytorch.LightningModule.load_from_checkpoint, "
    "init_args: {checkpoint_path: payload.pt, weights_only: false}}}",
    "callback": f"trainer: {{callbacks: [{LOAD_SPEC}]}}",
    "logger": "trainer: {logger: {class_path: shutil.rmtree, init_args: {path: lightning_logs}}}",
    "profiler": "trainer: {profiler: {class_path: subprocess.run, init_args: {args: [mkdir, executed]}}}",
    "plugin": "trainer: {plugins: [{class_path: os.system, init_args: {command: mkdir executed}}]}",
    "strategy": "trainer: {strategy: {class_path: builtins.exec, init_args: {source: 1}}}",
    "accelerator": "trainer: {accelerator: {class_path: idlelib.idle.Net}}",
    "a callback's function": "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, "
    f"init_args: {{setup: {LOAD_SPEC}}}}}]}}",
    "a module's function": "model: {backbone: {class_path: torchvision.ops.MLP, "
    "init_args: {in_channels: 1, hidden_channels: [1], norm_layer: shutil.rmtree}}}",
    "source": f"data: {{source: {LOAD_SPEC}}}",
}


@pytest.mark.usefixtures("evil")
@pytest.mark.parametrize("text", UNCALLED.values(), ids=UNCALLED)
def test_an_object_in_a_config_is_called_only_if_it_fits_the_option(
    text: str, command: Command, capsys: Capture
) -> None:
    Path("bad.yaml").write_text(text)
    assert command("fit", "--config", CONFIGS / "quickstart.yaml", "--config", "bad.yaml", *SMALL) == 2
    assert is_one_line(capsys.readouterr().err)
    assert Path("lightning_logs", "evil.py").is_file()


OWN = """
from lightning.pytorch import Callback
from torch import nn
def net(classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, classes))
class Nothing(Callback): pass
"""


def test_a_users_code_is_imported_only_for_the_users_checkpoints(
    command: Command, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own_net.py").write_text(OWN)
    monkeypatch.syspath_prepend(Path.cwd())
    Image.new("RGB", (32, 32)).save("image.png")

    def forget() -> None:  # like a new process, which has not imported it
        sys.modules.pop("own_net", None)

    options = ["--model.backbone", "own_net.net", "--trainer.callbacks", "own_net.Nothing", "--trainer.max_epochs"]
    assert command("fit", "--config", CONFIGS / "quickstart.yaml", *SMALL, *options, 1) == 0
    shutil.copy("lightning_logs/version_0/checkpoints/best.ckpt", "copy.ckpt")
    ours: list[list[Any]] = [
        ["predict", "image.png", "--ckpt_path", "copy.ckpt"],
        ["test", "--ckpt_path", "copy.ckpt"],
        ["fit", "--ckpt_path", "last", "--trainer.max_epochs", 2],
    ]
    for words in ours:
        forget()
        assert command(*words) == 0, capsys.readouterr().err

    monkeypatch.setenv("XDG_STATE_HOME", str(Path("another user").absolute()))
    capsys.readouterr()
    for words in ours:
        forget()
        assert command(*words) == 2
        error = capsys.readouterr().err
        assert is_one_line(error)
        assert "set the environment variable CIFAR_CNN_TRUST=own_net\n" in error
        assert "own_net" not in sys.modules
    assert command("test", "--ckpt_path", "copy.ckpt", "--model.backbone", "own_net.net") == 0
    monkeypatch.setenv("CIFAR_CNN_TRUST", "other, own_net")
    for words in ours:
        forget()
        assert command(*words) == 0, capsys.readouterr().err


class Served:
    """A response to a download."""

    def __init__(self, content: bytes, endless: bool = False) -> None:
        self.stream = io.BytesIO(content)
        self.endless = endless
        self.headers: dict[str, str] = {}

    def read(self, size: int) -> bytes:
        return self.stream.read(size) or (bytes(size) if self.endless else b"")

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *args: Any) -> None:
        pass


def traversing() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        info = tarfile.TarInfo("../executed")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    return stream.getvalue()


ARCHIVES = {
    "path traversal": (traversing(), False, "damaged"),
    "endless": (b"", True, "damaged .over 1000000 bytes."),
    "a web page": (b"<html>404</html>", False, "damaged"),
    "empty": (b"", False, "damaged"),
}


@pytest.mark.parametrize(("content", "endless", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_a_bad_archive_is_neither_extracted_nor_kept(
    content: bytes, endless: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR10, "archive", CIFAR10.archive._replace(size=1_000_000))
    monkeypatch.setattr("cifar_cnn.base.download.urlopen", lambda *args, **kwargs: Served(content, endless))
    with pytest.raises(InputError, match=message):
        CIFAR10("data", "http://mirror/cifar").prepare()
    assert os.listdir() == ["data"]
    assert os.listdir("data") == [".lock"]


def image(form: str, mode: str = "RGB", size: tuple[int, int] = (40, 40), **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def animated(form: str) -> bytes:
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "green", "blue")]
    stream = io.BytesIO()
    frames[0].save(stream, form, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("bomb", "x" * 80_000_000, zip=True)
    return image("PNG", pnginfo=info)


def sixteen_bits() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40).save(stream, "PNG")
    return stream.getvalue()


READABLE: dict[str, Callable[[], bytes]] = {
    "CMYK JPEG": lambda: image("JPEG", "CMYK"),
    "gray JPEG": lambda: image("JPEG", "L"),
    "16-bit PNG": sixteen_bits,
    "1-bit PNG": lambda: image("PNG", "1"),
    "palette with transparency": lambda: image("PNG", "P", transparency=0),
    "transparent WebP": lambda: image("WEBP", "RGBA"),
    "animated GIF": lambda: animated("GIF"),
    "animated WebP": lambda: animated("WEBP"),
    "animated PNG": lambda: animated("PNG"),
    "several pages": lambda: animated("TIFF"),
    "LAB TIFF": lambda: image("TIFF", "LAB"),
    "one pixel": lambda: image("PNG", size=(1, 1)),
    "a line": lambda: image("PNG", size=(3000, 1)),
}
UNREADABLE_FILES: dict[str, Callable[[], bytes]] = {
    "zero bytes": lambda: b"",
    "text": lambda: b"no image",
    "a web page": lambda: b"<!DOCTYPE html><html></html>",
    "a script": lambda: b"#!/bin/sh\nmkdir executed\n",
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n(executed) (w) file\n",
    "cut JPEG": lambda: image("JPEG")[:500],
    "cut PNG": lambda: image("PNG")[:500],
    "cut GIF": lambda: image("GIF")[:100],
    "cut WebP": lambda: image("WEBP")[:200],
    "cut BMP": lambda: image("BMP")[:200],
    "cut TIFF": lambda: image("TIFF")[:200],
    "PNG of 2 million million pixels": lambda: png_header(2_000_000, 1_000_000),
    "PNG of 100 million pixels": lambda: png_header(10_000, 10_000),
    "PNG of no pixel": lambda: png_header(0, 0),
    "PNG without data": lambda: png_header(40, 40),
    "text that unpacks to 80 MB": text_bomb,
    "header and noise": lambda: png_header(40, 40) + bytes(range(256)) * 4,
    "pickle": lambda: pickle.dumps(Payload()),
}


@pytest.mark.parametrize("make", READABLE.values(), ids=READABLE)
def test_an_unusual_image_is_read(make: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(make())
    pixels = decode_image(tmp_path / "image.png", 32)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.filterwarnings("ignore:.*decompression bomb")
@pytest.mark.parametrize("make", UNREADABLE_FILES.values(), ids=UNREADABLE_FILES)
def test_a_file_that_is_not_an_image_is_named_in_one_line(make: Callable[[], bytes], image_folder: Path) -> None:
    bad = image_folder / "train" / "röt" / "bad.png"
    bad.write_bytes(make())
    with pytest.raises(UNREADABLE):
        decode_image(bad, 32)
    with pytest.raises(InputError, match=r"^1 of 41 files cannot be read as images: .*bad\.png; repair or remove"):
        ImageFolder(image_folder).load("train")
    assert MARK not in os.listdir()


NAMES = ["猫", "كلب", "собака", "ขวด", "🐸", "a b", "it's", '"quoted"', "-rf", "$HOME", "%s", "{x}", "a,b", "CON"]


@pytest.mark.parametrize("name", NAMES)
def test_class_names_in_any_script(name: str, image_folder: Path) -> None:
    (image_folder / "train" / "röt").rename(image_folder / "train" / name)
    (image_folder / "test" / "röt").rename(image_folder / "test" / name)
    source = ImageFolder(image_folder)
    assert set(source.class_names) == {"blue thing", name}
    assert len(source.load("test")) == 20


@pytest.mark.parametrize("name", [b"line\nbreak", b"\x1b[31mred", b"not \xff text"])
def test_unprintable_class_names_are_rejected(name: bytes, image_folder: Path) -> None:
    os.rename(image_folder / "train" / "röt", os.path.join(os.fsencode(image_folder / "train"), name))
    with pytest.raises(InputError, match="has a class that cannot be printed") as caught:
        ImageFolder(image_folder).load("train")
    assert str(caught.value).isprintable()


def one_class(root: Path) -> None:
    (root / "train" / "röt").rename(root / "elsewhere")


def empty_class(root: Path) -> None:
    (root / "train" / "empty").mkdir()


def a_file_as_train(root: Path) -> None:
    (root / "train").rename(root / "elsewhere")
    (root / "train").touch()


def no_train(root: Path) -> None:
    (root / "train").rename(root / "elsewhere")


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "one class": (one_class, "needs one folder per class, at least two; it has 1"),
    "an empty class": (empty_class, "empty has no images"),
    "a file as train": (a_file_as_train, "train: Not a directory"),
    "no train": (no_train, "train: No such file or directory"),
}


@pytest.mark.parametrize(("change", "message"), FOLDERS.values(), ids=FOLDERS)
def test_a_bad_folder_is_one_line(change: Callable[[Path], None], message: str, image_folder: Path) -> None:
    change(image_folder)
    with pytest.raises(InputError, match=message):
        ImageFolder(image_folder).load("train")


def test_special_files_are_skipped(image_folder: Path) -> None:
    folder = image_folder / "train" / "röt"
    (folder / "folder.png").mkdir()
    (folder / "nowhere.png").symlink_to("nowhere")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    assert len(ImageFolder(image_folder).load("train")) == 40
