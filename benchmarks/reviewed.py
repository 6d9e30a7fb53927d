"""Warnings and errors of the zoo, each with the reason why it is right."""

from __future__ import annotations

from fnmatch import fnmatch

# (code, library, pattern of names): why the finding is right.
REVIEWED: dict[tuple[str, str, str], str] = {
    (
        "NS204",
        "transformers",
        "MobileViT*",
    ): "Its initializer draws the scale of every batch norm from a normal law of width 0.02 around 0; trained from scratch, each norm shrinks its output fifty times.",
    (
        "NS112",
        "timm",
        "csatv2*",
    ): "A LayerNorm over a single channel returns its shift whatever comes in.",
    (
        "NS201",
        "transformers",
        "EfficientNet",
    ): "The configuration carries over momentum 0.99 from TensorFlow, where it is the weight of the old average: fine-tuning keeps the statistics of the last batch alone.",
    ("NS201", "transformers", "MobileNetV1"): "Momentum 0.9997 is TensorFlow's as well.",
    ("NS201", "transformers", "MobileNetV2"): "Momentum 0.997 is TensorFlow's as well.",
}


def why(code: str, library: str, name: str) -> str:
    """The reason that stands beside the finding; empty where nobody has looked at it yet."""
    return next(
        (
            reason
            for (known, place, pattern), reason in REVIEWED.items()
            if (known, place) == (code, library) and fnmatch(name, pattern)
        ),
        "",
    )
