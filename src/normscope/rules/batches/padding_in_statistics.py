from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.probes.observations import PaddedNorm, Padding
from normscope.rule import Faulty, Healthy, rule

SHARE = 0.2  # of positions; below it the statistics are mostly those of real positions
MOVES = 0.01  # standard deviation of that share between batches; 0 where all are padded alike
SHIFT, RATIO = 0.25, 2.0  # an info from here: standard deviations, factor of the variance
FAR, OFF = 1.0, 4.0  # a warning from here


@rule("NS306", severity="warning", since="0.1.0", explains=("NS408", "NS601"))
def padding_in_statistics(padding: Padding) -> Iterator[Finding]:
    """Padded positions of sequences or point clouds enter the statistics of batch norms.

    ## What it checks
    Kept inputs whose samples end in a run of one constant vector, of different length and found nowhere else, are replayed in
    evaluation mode. For each batch norm over those positions, mean and variance with the padded ones are compared to those without. An
    info from 20 % padding that moves the mean by 0.25 standard deviations or changes the variance by a factor of 2; a warning where the mean
    moves by one standard deviation or the variance by a factor of 4, and the share of padding differs from batch to batch.

    ## Why it matters
    The statistics are then those of padding as much as of data, and a sample is normalized by how much longer its batch mates happen to be.
    Evaluated one by one, without padding, real positions come out shifted and on another scale (measured: true mean 3.96 and
    variance 0.99; batch norm saw 2.09 and 4.44).

    ## Example
    ```python
    x = pad_sequence(sequences, batch_first=True).transpose(1, 2)
    y = nn.BatchNorm1d(24)(x)  # NS306: half of the positions are padding
    ```

    ## Repair
    Give the norm the real positions alone and put its result back: `y[mask] = norm(x[mask])`. Or group samples of like length, or use
    LayerNorm, which normalizes each position by itself.

    ## Known limits
    Silent when padding cannot be told by its values (noise, repeated samples), for padding at the front (but in Keras, whose `pad_sequences` puts it
    there), for norms whose positions are not those of the input (strided, pooled), for images, and for norms that are given real positions alone, as
    Keras' are by a mask. Where all batches are padded to one length, evaluation
    is padded alike: an info. Thresholds lie between a healthy text network with zero embeddings (0.05 standard deviations, factor 0.37) and
    two networks that lost by it (2.5 and 2.7, factors 5.4 and 4.5). 0 alarms in 258 healthy scripts, one run each; few of them pad, so that this
    bounds the rate of alarms where nothing is padded (less than 1.2 % with 95 % confidence). Where padding is harmless: 0 in 90 seeded runs with up to 46 %
    padding, which the norms saw in 59; two had a remark (less than 3.3 %; `benchmarks/calibration.py --only padded`): at most 0.28 standard deviations and a
    factor of 1.8.

    ## References
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3.1: statistics over the values of a feature. https://arxiv.org/abs/1502.03167
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.rnn.pad_sequence.html
    """
    moved = [x for x in padding.layers if x.shift >= SHIFT or _factor(x) >= RATIO]
    if padding.share < SHARE or not moved:
        return
    severity: Severity = "info"
    strong = [x for x in moved if x.shift >= FAR or _factor(x) >= OFF]
    if strong and padding.spread >= MOVES:
        severity, moved = "warning", strong
    worst = max(moved, key=lambda x: (x.shift, _factor(x)))
    yield Finding(
        f"{padding.share:.0%} of the positions that `{padding.name}` is trained on are padding, and they enter the statistics of "
        f"{len(moved)} batch norm{'s' if len(moved) > 1 else ''}: at `{worst.path}` they move the mean by {worst.shift:.2g} standard deviations and "
        f"multiply the variance by {worst.ratio:.2g}. Normalize the real positions alone.",
        severity=severity,
        confidence="high" if padding.samples >= 200 else "medium",
        model=padding.name,
        layers=tuple(x.path for x in moved),
        measured=(
            Measured("padded positions", padding.share, "1", high=SHARE),
            Measured("shift of the mean", worst.shift, "standard deviations", high=SHIFT),
            Measured("variance with padding over that without", worst.ratio, "1", 1 / RATIO, RATIO),
        ),
        repairs=(
            Remedy(
                "normalize real positions",
                "changes-function",
                "`x = x.transpose(1, 2); y = torch.zeros_like(x); y[mask] = norm(x[mask])`",
            ),
        ),
    )


def _factor(layer: PaddedNorm) -> float:
    return max(layer.ratio, 1 / max(layer.ratio, 1e-12))


def _measured(
    share: float = 0.5, shift: float = 2.5, ratio: float = 5.0, spread: float = 0.06
) -> dict[str, object]:
    layers = (PaddedNorm(0, "a", shift, ratio), PaddedNorm(1, "b", 0.1, 1.1))
    return {
        "padding": Padding(
            model=0, name="Net", samples=1000, share=share, spread=spread, layers=layers
        )
    }


CASES = (
    Faulty("zeros far from the data", ("a",), measured=_measured(), severity="warning"),
    Faulty("mean alone", ("a",), measured=_measured(shift=1.0, ratio=1.0), severity="warning"),
    Faulty("always padded to one length", ("a",), measured=_measured(spread=0.0), severity="info"),
    Faulty("variance a third", ("a",), measured=_measured(shift=0.05, ratio=0.37), severity="info"),
    Healthy("no padding", measured=_measured(share=0.0)),
    Healthy("little padding", measured=_measured(share=0.15)),
    Healthy("padding like the data", measured=_measured(shift=0.1, ratio=0.9)),
    Healthy("just below", measured=_measured(shift=0.24, ratio=1.9)),
    Healthy(
        "padding that hardly moves the mean",
        measured=_measured(shift=0.9, ratio=2.5),
        at_most="info",
    ),
)
