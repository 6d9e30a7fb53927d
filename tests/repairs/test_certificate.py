"""The certificate: text for a person, JSON for a program, and no framework behind it."""

import json
import subprocess
import sys

from normscope.repairs.certificate import Certificate, Difference, LayerChange, LeftAlone, Score


def certificate(**more):
    layers = tuple(
        LayerChange(path=f"bn{i}", channels=8, values=640, calls=10, mean_shift=0.1 * i, log_sd=0.0)
        for i in range(7)
    )
    facts = {
        "repair": "recalibrate",
        "kind": "changes-function",
        "model": "Net",
        "done": "population statistics of 7 batch norms",
        "samples": 640,
        "layers": layers,
        "left": (LeftAlone(path="head.bn", reason="frozen by `frozen`"),),
        "differences": (
            Difference(mode="eval", distance=0.25, samples=8),
            Difference(mode="train", distance=0.0, samples=8),
        ),
        "score": Score(unit="nats", before=2.0, after=0.5, train=0.4, gain=1.5, noise=0.02),
        "warnings": ("only 640 samples",),
    }
    return Certificate(**(facts | more))


def test_text():
    assert certificate().text().splitlines() == [
        "recalibrate: population statistics of 7 batch norms",
        "  loss         2 before, 0.5 after (0.4 with batch statistics): gain 1.5 ± 0.02 nats",
        "  eval mode    outputs moved by 0.25 standard deviations (8 samples)",
        "  train mode   outputs are the same, bit for bit (8 samples)",
        "  bn6: mean was off by 0.6 sd, sd by a factor of 1",
        "  bn5: mean was off by 0.5 sd, sd by a factor of 1",
        "  bn4: mean was off by 0.4 sd, sd by a factor of 1",
        "  bn3: mean was off by 0.3 sd, sd by a factor of 1",
        "  bn2: mean was off by 0.2 sd, sd by a factor of 1",
        "  and 2 more",
        "  left alone   head.bn: frozen by `frozen`",
        "  note         only 640 samples",
    ]


def test_text_of_what_was_taken_back_or_cannot_be_compared():
    text = certificate(
        kept=False, differences=(Difference(mode="eval", distance=None, samples=8),)
    ).text()
    assert "taken back: not better beyond the noise" in text
    assert "outputs that cannot be compared" in text


def test_json_holds_all_of_it_and_no_number_that_json_lacks():
    score = Score(
        unit="nats", before=float("nan"), after=0.5, train=0.4, gain=float("inf"), noise=0.1
    )
    found = json.loads(certificate(score=score).json(), parse_constant=lambda c: 1 / 0)
    assert found["score"]["before"] is found["score"]["gain"] is None
    assert len(found["layers"]) == 7
    assert found["left"] == [{"path": "head.bn", "reason": "frozen by `frozen`"}]
    assert set(found) == set(Certificate.__dataclass_fields__)


def test_certificates_and_the_table_of_repairs_import_no_framework():
    code = "import sys, normscope.repairs.table, normscope.repairs.certificate; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
