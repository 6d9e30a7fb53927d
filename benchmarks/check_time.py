"""How long `normscope check` takes against the number of norm layers: processor time, one thread, and its growth.

    python benchmarks/check_time.py [--write]

With `--write` the figure goes to benchmarks/check_time.svg and the table to benchmarks/check_time.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from math import log, log10
from pathlib import Path
from statistics import linear_regression, median

HERE = Path(__file__).resolve().parent
MARK = "<!-- figures: everything below is written by benchmarks/check_time.py --write -->"
DEPTHS = (10, 20, 50, 100, 200, 500, 1000, 2000)
TIMES = 5  # each depth is measured so often


def seconds(depth: int) -> float:
    """Median processor time of one check of a plain convolutional network with that many batch norms."""
    import torch
    from torch import nn

    import normscope

    blocks = (
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        for _ in range(depth)
    )
    model, x = nn.Sequential(*blocks), torch.zeros(2, 8, 8, 8)
    taken: list[float] = []
    for _ in range(TIMES):
        began = time.process_time()
        normscope.check(model, x)
        taken.append(time.process_time() - began)
    return median(taken)


def growth(times: Mapping[int, float]) -> float:
    """The exponent p of time ~ layers^p from 100 layers on, by least squares in logarithms: 1 is linear."""
    far = [(log(n), log(t)) for n, t in times.items() if n >= 100]
    return linear_regression(*zip(*far, strict=True)).slope


def svg(times: Mapping[int, float], power: float) -> str:
    """Both axes logarithmic; dots are measured, the line is linear growth through the last."""
    width, height, left, bottom = 560, 360, 64, 44
    lows, highs = (log10(min(times)), log10(min(times.values()) / 2)), (log10(max(times)), log10(max(times.values()) * 2))  # fmt: skip

    def x(n: float) -> float:
        return left + (log10(n) - lows[0]) / (highs[0] - lows[0]) * (width - left - 20)

    def y(t: float) -> float:
        return (
            height - bottom - (log10(t) - lows[1]) / (highs[1] - lows[1]) * (height - bottom - 20)
        )

    last = max(times)
    ends = [(n, times[last] * n / last) for n in (min(times), last)]
    ends = [(n, t) for n, t in ends if log10(t) >= lows[1]] or ends[1:]
    if len(ends) == 1:  # it leaves the frame below
        start = last * 10 ** lows[1] / times[last]
        ends.insert(0, (start, 10 ** lows[1]))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{width / 2}" y="14" text-anchor="middle">normscope check: processor time against norm layers (time ~ layers^{power:.2f})</text>',
    ]
    for n in DEPTHS:
        parts.append(
            f'<line x1="{x(n):.1f}" x2="{x(n):.1f}" y1="20" y2="{height - bottom}" stroke="#ddd"/>'
        )
        parts.append(
            f'<text x="{x(n):.1f}" y="{height - bottom + 16}" text-anchor="middle">{n}</text>'
        )
    for t in (0.01, 0.03, 0.1, 0.3, 1, 3, 10):
        if lows[1] <= log10(t) <= highs[1]:
            parts.append(
                f'<line x1="{left}" x2="{width - 20}" y1="{y(t):.1f}" y2="{y(t):.1f}" stroke="#ddd"/>'
            )
            parts.append(
                f'<text x="{left - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g} s</text>'
            )
    (n1, t1), (n2, t2) = ends
    parts.append(
        f'<line x1="{x(n1):.1f}" y1="{y(t1):.1f}" x2="{x(n2):.1f}" y2="{y(t2):.1f}" stroke="#888" stroke-dasharray="4"/>'
    )
    parts.append(f'<text x="{x(n1) + 30:.1f}" y="{y(t1) - 30:.1f}" fill="#888">linear</text>')
    points = " ".join(f"{x(n):.1f},{y(t):.1f}" for n, t in times.items())
    parts.append(f'<polyline points="{points}" fill="none" stroke="#06c"/>')
    parts += [
        f'<circle cx="{x(n):.1f}" cy="{y(t):.1f}" r="4" fill="#06c"/>' for n, t in times.items()
    ]
    parts.append(
        f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle">norm layers</text></svg>'
    )
    return "\n".join(parts) + "\n"


def page(times: Mapping[int, float], power: float) -> str:
    import torch

    rows = [
        f"Python {sys.version.split()[0]}, PyTorch {torch.__version__}, one thread, median of {TIMES}.",
        "",
        "![time against layers](check_time.svg)",
        "",
        "| norm layers | s | ms a layer |",
        "|---|---|---|",
        *(f"| {n:,} | {t:.3f} | {1000 * t / n:.2f} |" for n, t in times.items()),
        "",
        f"From 100 layers on time grows as layers^{power:.2f}.",
    ]
    return "\n".join(rows) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the figure and its page")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    seconds(10)  # imports
    times = {n: seconds(n) for n in DEPTHS}
    power = growth(times)
    text = page(times, power)
    print(text)
    if options.write:
        (HERE / "check_time.svg").write_text(svg(times, power), encoding="utf-8")
        file = HERE / "check_time.md"
        head = file.read_text(encoding="utf-8").split(MARK)[0]
        file.write_text(f"{head}{MARK}\n\n{text}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
