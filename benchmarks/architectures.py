"""Every architecture of torchvision, timm and transformers that can be built without a network, and what it is called with."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One architecture: `make` builds it, `inputs` gives what it is called with."""

    library: str
    name: str
    make: Callable[[], Any]
    inputs: Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]


def prepare() -> list[Any]:
    """A build of torchvision without its compiled part gets what its detectors need of it: non-maximum suppression.

    What is returned keeps the operators alive.
    """
    import torch

    kept = []
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # a complete build has them
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            library.impl(name, suppressed, "CPU")
            kept.append(library)
    if kept:
        import torchvision.ops.boxes

        torchvision.ops.boxes._assert_has_ops = lambda: None
    return kept


def suppressed(boxes: Any, scores: Any, threshold: float) -> Any:
    """The boxes that overlap no better one by more than the threshold, best first: what `torchvision::nms` returns."""
    import torch
    from torchvision.ops import box_iou

    left, chosen = scores.argsort(descending=True), []
    while left.numel():
        best, left = left[0], left[1:]
        chosen.append(best)
        left = left[box_iou(boxes[best][None], boxes[left])[0] <= threshold]
    return torch.stack(chosen) if chosen else scores.new_empty(0, dtype=torch.long)


def scene_for(name: str) -> Callable[[Any], Any]:
    """Two pictures with one object each, as the detector of that name is trained on."""
    import torch

    def scene(_: Any) -> Any:
        target = {"boxes": torch.tensor([[4.0, 4.0, 60.0, 60.0]]), "labels": torch.tensor([1])}
        if "mask" in name:
            target["masks"] = torch.ones(1, 96, 96, dtype=torch.uint8)
        if "keypoint" in name:
            target["keypoints"] = torch.ones(1, 17, 3)
        pictures = [torch.rand(3, 96, 96) for _ in range(2)]
        return (pictures, [dict(target) for _ in pictures]), {}

    return scene


def torchvision_entries() -> Iterator[Entry]:
    import torch
    import torchvision.models as zoo

    def image(size: int, batch: int = 2) -> Callable[[Any], Any]:
        return lambda _: ((torch.randn(batch, 3, size, size),), {})

    for name in zoo.list_models():
        kind = name.split("/")[0] if "/" in name else ""
        builder = zoo.get_model_builder(name)
        where = builder.__module__
        given: dict[str, Any] = {"weights": None}
        if "detection" in where or "segmentation" in where:
            given["weights_backbone"] = None
        if (
            "rcnn" in name
        ):  # without compiled operators each proposal takes memory by the picture's size
            given |= {"rpn_post_nms_top_n_train": 50, "rpn_post_nms_top_n_test": 50}
        if "rcnn" in name or "retinanet" in name or "fcos" in name:
            given |= {"min_size": 96, "max_size": 128}
        if "detection" in where:
            inputs = scene_for(name)
        elif "video" in where:
            inputs = lambda _: ((torch.randn(1, 3, 16, 224, 224),), {})  # noqa: E731
        elif "optical_flow" in where:
            inputs = lambda _: ((torch.randn(1, 3, 128, 128), torch.randn(1, 3, 128, 128)), {})  # noqa: E731
        elif "inception" in name:
            inputs = image(299)
        elif "segmentation" in where:
            inputs = image(128)
        else:
            inputs = image(224)
        if "quantization" in where:
            given["quantize"] = False
        yield Entry(
            "torchvision",
            f"{kind}{name}" if kind else name,
            lambda b=builder, g=given: b(**g),
            inputs,
        )


def timm_entries() -> Iterator[Entry]:
    import timm
    import torch

    for name in timm.list_models():

        def inputs(model: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
            shape = tuple(model.default_cfg.get("input_size", (3, 224, 224)))
            return (torch.randn(2, *shape),), {}

        yield Entry("timm", name, lambda n=name: timm.create_model(n, pretrained=False), inputs)


# Configurations small enough to build anywhere; the architecture is the family's own.
TRANSFORMERS: dict[str, dict[str, Any]] = {
    name: {}
    for name in (
        "BeitConfig", "BitConfig", "ConvNextConfig", "ConvNextV2Config", "CvtConfig", "DeiTConfig",
        "Dinov2Config", "EfficientNetConfig", "FocalNetConfig", "HieraConfig", "LevitConfig",
        "MobileNetV1Config", "MobileNetV2Config", "MobileViTConfig", "MobileViTV2Config", "PoolFormerConfig",
        "PvtConfig", "RegNetConfig", "ResNetConfig", "SegformerConfig", "SwiftFormerConfig", "SwinConfig",
        "Swinv2Config", "TextNetConfig", "ViTConfig", "ViTMSNConfig", "ViTMAEConfig", "DPTConfig",
        "ASTConfig", "HubertConfig", "Wav2Vec2Config", "Wav2Vec2ConformerConfig", "WavLMConfig",
        "SEWConfig", "UniSpeechConfig", "WhisperConfig", "EncodecConfig", "ClapAudioConfig",
    )
}  # fmt: skip


def transformers_entries() -> Iterator[Entry]:
    import torch
    import transformers

    for name in TRANSFORMERS:
        cls = getattr(transformers, name, None)
        if cls is None:
            continue

        def make(cls: Any = cls) -> Any:
            return transformers.AutoModel.from_config(cls())

        def inputs(model: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
            key = model.main_input_name
            size = getattr(model.config, "image_size", 224)
            size = size if isinstance(size, int) else size[0]
            if key == "pixel_values":
                return (torch.randn(2, getattr(model.config, "num_channels", 3), size, size),), {}
            if key == "input_features":
                bins = getattr(model.config, "num_mel_bins", 80)
                if type(model).__name__.startswith("Clap"):
                    return (torch.randn(2, 1, 1001, 64),), {}
                words = torch.zeros(2, 4, dtype=torch.long)
                return (torch.randn(2, bins, 3000),), {"decoder_input_ids": words}
            if type(model).__name__.startswith("AST"):
                return (torch.randn(2, 1024, 128),), {}
            if type(model).__name__.startswith("Encodec"):
                return (torch.randn(2, 1, 16000),), {}
            return (torch.randn(2, 16000),), {}

        yield Entry("transformers", name.removesuffix("Config"), make, inputs)


LIBRARIES = {
    "torchvision": torchvision_entries,
    "timm": timm_entries,
    "transformers": transformers_entries,
}


def entries(libraries: Sequence[str], only: str = "", sample: int = 0) -> list[Entry]:
    """Those whose name contains `only`; of these a stratified sample, drawn with a fixed seed."""
    found = [e for name in libraries for e in LIBRARIES[name]() if only in e.name]
    if not sample or sample >= len(found):
        return found
    # Stratified by the first word of the name: families of a hundred variants do not crowd out the rest.
    families: dict[tuple[str, str], list[Entry]] = {}
    for entry in found:
        families.setdefault((entry.library, entry.name.split("_")[0]), []).append(entry)
    picker = random.Random(0)
    drawn = [picker.choice(members) for members in families.values()]
    return picker.sample(drawn, min(sample, len(drawn)))
