"""Static answers for every architecture of torchvision, timm and transformers that can be built without a network.

    python benchmarks/zoo.py [--only resnet] [--library timm] [--sample 60] [--jobs 2] [--write]

Each model is built with random weights, and then `normscope.check` is timed on it. Prints crashes, times and findings; with
`--write` the tables go to benchmarks/zoo.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
MARK = "<!-- figures: everything below is written by benchmarks/zoo.py --write -->"
MOST_PARAMETERS = (
    1_200_000_000  # a larger one does not fit beside its twin in the memory of a small machine
)


@dataclass(slots=True)
class Result:
    """What checking one architecture gave. Times in seconds."""

    library: str
    name: str
    build: float = 0.0
    check: float = 0.0
    norms: int = 0
    findings: list[tuple[str, str, str]] = field(default_factory=list)  # code, severity, message
    opaque: list[str] = field(default_factory=list)
    error: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One architecture: `make` builds it, `inputs` gives what it is called with."""

    library: str
    name: str
    make: Callable[[], Any]
    inputs: Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]


def define_missing_operators() -> list[Any]:
    """torchvision asks at import for two operators that a build without its compiled part lacks."""
    import torch

    libraries = []
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        with contextlib.suppress(RuntimeError):  # a complete build has them
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(schema)
            libraries.append(library)
    return libraries


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
        given = {"weights": None}
        if "detection" in where or "segmentation" in where:
            given["weights_backbone"] = None
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


def checked(entry: Entry) -> Result:
    import torch

    import normscope

    result = Result(entry.library, entry.name)
    torch.manual_seed(0)
    try:
        began = time.perf_counter()
        model = entry.make()
        result.build = time.perf_counter() - began
        if sum(p.numel() for p in model.parameters()) > MOST_PARAMETERS:
            result.skipped = "too large for this machine"
            return result
        args, kwargs = entry.inputs(model)
    except Exception as error:  # noqa: BLE001  whatever keeps it from being built is told
        result.skipped = f"cannot be built here: {type(error).__name__}: {str(error)[:120]}"
        return result
    began = time.perf_counter()
    try:
        diagnosis = normscope.check(model, *args, **kwargs)
    except Exception as error:  # noqa: BLE001  a crash is what is looked for
        if "custom C++ ops" in str(error):
            result.skipped = "needs compiled operators that this build of torchvision lacks"
        else:
            result.error = f"{type(error).__name__}: {error}"
        return result
    result.check = time.perf_counter() - began
    result.norms = len(diagnosis.recording.layers)
    result.findings = [(f.code, f.severity or "", f.message) for f in diagnosis.findings]
    result.opaque = list(diagnosis.coverage.opaque_operations)
    return result


def entries(libraries: Sequence[str], only: str, sample: int) -> list[Entry]:
    found = [e for name in libraries for e in LIBRARIES[name]() if only in e.name]
    if sample and sample < len(found):
        # Stratified by the first word of the name: families of a hundred variants do not crowd out the rest.
        families: dict[tuple[str, str], list[Entry]] = {}
        for entry in found:
            families.setdefault((entry.library, entry.name.split("_")[0]), []).append(entry)
        picker = random.Random(0)
        drawn = [picker.choice(members) for members in families.values()]
        found = picker.sample(drawn, min(sample, len(drawn)))
    return found


def worker(part: int, parts: int, options: argparse.Namespace, pipe: Any) -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kept = define_missing_operators()
    chosen = entries(options.library, options.only, options.sample)[part::parts]
    for entry in chosen:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = checked(entry)
        pipe.send(asdict(result))
    pipe.send(None)
    del kept


def run(options: argparse.Namespace) -> list[Result]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for part in range(options.jobs):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=worker, args=(part, options.jobs, options, theirs))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    results: list[Result] = []
    while pipes:
        for pipe in multiprocessing.connection.wait(pipes):
            try:
                told = pipe.recv()
            except EOFError:  # killed, by a lack of memory for one
                told = None
                print("a worker ended early", file=sys.stderr)
            if told is None:
                pipes.remove(pipe)
                continue
            results.append(Result(**told))
            if sys.stderr.isatty() or len(results) % 50 == 0:
                print(f"{len(results)} {results[-1].name}", file=sys.stderr, flush=True)
    for process in processes:
        process.join()
    return sorted(results, key=lambda r: (r.library, r.name))


def table(results: Sequence[Result]) -> str:
    done = [r for r in results if not r.skipped and not r.error]
    rows = [
        "| library | checked | could not be built | crashes | median s | slowest s | warnings | errors |"
    ]
    rows.append("|---|---|---|---|---|---|---|---|")
    for library in dict.fromkeys(r.library for r in results):
        mine = [r for r in done if r.library == library]
        times = [r.check for r in mine] or [0.0]
        of = [r for r in results if r.library == library]
        slowest = max(mine, key=lambda r: r.check, default=None)
        counts = [
            sum(s == bar for r in mine for _, s, _ in r.findings) for bar in ("warning", "error")
        ]
        rows.append(
            f"| {library} | {len(mine)} | {sum(bool(r.skipped) for r in of)} | {sum(bool(r.error) for r in of)} | "
            f"{median(times):.2f} | {max(times):.2f} ({slowest.name if slowest else ''}) | {counts[0]} | {counts[1]} |"
        )
    by_rule = Counter((c, s) for r in done for c, s in {(c, s) for c, s, _ in r.findings})
    rows += ["", "| finding | severity | models |", "|---|---|---|"]
    rows += [f"| {c} | {s} | {n} |" for (c, s), n in sorted(by_rule.items())]
    worst = [(r, f) for r in done for f in r.findings if f[1] != "info"]
    rows += ["", "| model | finding | message |", "|---|---|---|"]
    rows += [f"| {r.name} | {c} {s} | {m} |" for r, (c, s, m) in worst]
    rows += ["", *(f"- crash: {r.library} {r.name}: {r.error}" for r in results if r.error)]
    rows += [f"- not built: {r.library} {r.name}: {r.skipped}" for r in results if r.skipped]
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", action="append", choices=list(LIBRARIES), default=[])
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--sample", type=int, default=0, help="a stratified sample of so many")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="every result, for a closer look")
    parser.add_argument(
        "--write", action="store_true", help="write the tables to benchmarks/zoo.md"
    )
    options = parser.parse_args()
    options.library = options.library or list(LIBRARIES)
    results = run(options)
    text = table(results)
    print(text)
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1))
    if options.write:
        page = HERE / "zoo.md"
        head = page.read_text(encoding="utf-8").split(MARK)[0] if page.exists() else "# The zoo\n\n"
        page.write_text(f"{head}{MARK}\n\n{text}\n", encoding="utf-8")
    return int(any(r.error for r in results))


if __name__ == "__main__":
    sys.exit(main())
