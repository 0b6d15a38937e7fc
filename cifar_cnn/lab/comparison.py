"""Compare the layers of a network with those that an exercise asks for."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from cifar_cnn.lab.findings import Finding, finding
from cifar_cnn.lab.sequences import Layer
from cifar_cnn.lab.tracing import Operation

_MAIN = ("conv", "linear")
Pairs = list[tuple[Operation, Layer]]


def differences(found: Sequence[Operation], asked: Sequence[Layer]) -> list[Finding]:
    """Find missing layers, extra layers and wrong sizes, in the order of the layers.

    Args:
        found: from :func:`cifar_cnn.lab.sequences.canonical`.
        asked: the layers of the exercise.
    """
    pairs, missing, extra = _aligned(found, asked)
    misplaced = [(each, at) for each, at in extra if each.kind in {layer.kind for layer, _ in missing}]
    findings = [_misplaced(each, found, at) for each, at in misplaced]
    explained = {each.kind for each, _ in misplaced}
    findings += [_extra(each, found, at) for each, at in extra if each.kind not in explained]
    findings += [_missing(layer, found, at) for layer, at in missing if layer.kind not in explained]
    return findings + list(_sizes(pairs, bool(findings)))


def _aligned(
    found: Sequence[Operation], asked: Sequence[Layer]
) -> tuple[Pairs, list[tuple[Layer, int]], list[tuple[Operation, int]]]:
    """Pair layers of the same kind; also return the layers missing before each index of ``found``, and the extra ones.

    Convolutions and fully connected layers are paired first, then the layers between them.
    """
    own = [at for at, each in enumerate(found) if each.kind in _MAIN]
    main = [at for at, layer in enumerate(asked) if layer.kind in _MAIN]
    anchors = _same([found[at].kind for at in own], [asked[at].kind for at in main])
    pairs = [(own[a], main[c]) for a, c in anchors]
    for (a, c), (b, d) in pairwise([(-1, -1), *pairs, (len(found), len(asked))]):
        kinds = [each.kind for each in found[a + 1 : b]], [layer.kind for layer in asked[c + 1 : d]]
        pairs += [(a + 1 + i, c + 1 + j) for i, j in _same(*kinds)]
    pairs.sort()
    partner = {c: a for a, c in pairs}
    missing, at = [], 0
    for c, layer in enumerate(asked):
        if c not in partner:
            missing.append((layer, at))
        at = partner.get(c, at - 1) + 1
    extra = [(each, a) for a, each in enumerate(found) if a not in set(partner.values())]
    return [(found[a], asked[c]) for a, c in pairs], missing, extra


def _same(found: Sequence[str], asked: Sequence[str]) -> list[tuple[int, int]]:
    blocks = SequenceMatcher(None, found, asked, autojunk=False).get_matching_blocks()
    return [(a + k, c + k) for a, c, size in blocks for k in range(size)]


def after(found: Sequence[Operation], at: int) -> str:
    """The name of the last layer with weights before an index; empty at the start."""
    return next((each.title for each in reversed(found[:at]) if each.tensors), "")


def _missing(layer: Layer, found: Sequence[Operation], at: int) -> Finding:
    before = after(found, at)
    if layer.kind in ("relu", "batch_norm", "max_pool") and before:
        return finding(f"{layer.kind}_missing", after=before)
    return finding(f"{layer.kind}_missing_here")


def _extra(each: Operation, found: Sequence[Operation], at: int) -> Finding:
    is_last = at == len(found) - 1
    if each.kind == "softmax" and is_last:
        return finding("softmax_at_end", name=each.function)
    if each.kind == "relu" and is_last:
        return finding("relu_at_end")
    if each.kind == "matmul":
        return finding("matmul", name=each.function, after=after(found, at))
    if each.kind in ("activation", "sigmoid"):
        return finding("other_activation", name=each.function, after=after(found, at))
    if each.kind in ("conv", "linear", "batch_norm"):
        return finding(f"{each.kind}_extra", layer=each.title)
    before = after(found, at)
    return finding("extra", name=each.function, after=before) if before else finding("extra_first", name=each.function)


def _misplaced(each: Operation, found: Sequence[Operation], at: int) -> Finding:
    before = found[at - 1].kind if at else ""
    if each.kind == "batch_norm" and before in ("relu", "max_pool"):
        where = {"relu": "batch_norm_after_relu", "max_pool": "batch_norm_after_pool"}[before]
        return finding(where, layer=each.title)
    return finding("misplaced", name=each.title, after=after(found, at))


def _sizes(pairs: Pairs, explained: bool) -> Iterator[Finding]:
    """The sizes that differ. Input sizes follow from earlier layers, so only the first wrong one is reported."""
    for each, layer in pairs:
        wrong = [name for name, size in layer.sizes.items() if each.sizes.get(name) != size]
        for name in wrong:
            if name in ("in", "channels") and explained:
                continue
            explained = True
            values: dict[str, Any] = {"layer": each.title, "found": _text(each.sizes.get(name))}
            if name == "padding":
                values |= {"side": each.shape[-1], "output": each.output_shape[-1]}
            if name == "in":
                values["shape"] = list(each.shape[1:])
            yield finding(f"{each.kind}_{name}", **values)
            if name in ("in", "out", "kernel") and each.kind in ("conv", "linear"):
                yield finding("parameters_of_layer", layer=each.title, found=each.parameters, asked=_parameters(layer))
                break


def _parameters(layer: Layer) -> int:
    kernel = layer.sizes.get("kernel", (1, 1))
    assert isinstance(kernel, tuple)
    c_in, c_out = layer.sizes["in"], layer.sizes["out"]
    assert isinstance(c_in, int)
    assert isinstance(c_out, int)
    return c_out * (c_in * kernel[0] * kernel[1] + 1)


def _text(size: object) -> str:
    if isinstance(size, tuple):
        return str(size[0]) if len(set(size)) == 1 else "x".join(map(str, size))
    return str(size)
