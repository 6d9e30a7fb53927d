"""A stratified sample of published architectures: no crash, whole graphs, and no warning that nobody has reviewed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SAMPLE = {
    "torchvision": "densenet161 lraspp_mobilenet_v3_large mnasnet0_5 mvit_v1_b resnext101_32x8d vgg11",
    "timm": """
        botnet26t_256 coatnet_rmlp_0_rw_224 convformer_s36 cspresnet50 cspresnet50d cspresnext50 deit_small_patch16_224 dla102x
        dm_nfnet_f6 dpn68 dpn98 ecaresnet26t ecaresnet50d ecaresnet50t fbnetc_100 flexivit_base halo2botnet50ts_256
        lamhalobotnet50ts_256 lcnetv2_base legacy_seresnext50_32x4d mnasnet_050 mobilevitv2_075
        naflexvit_so400m_patch16_radio_v4 nextvit_small poolformer_s24 regnetz_040_h repvgg_b0 res2net101_26w_4s resnest269e
        resnet18d resnet50c resnet50s resnet50x16_clip resnetaa50 resnetaa50d resnetblur101d resnetblur50 resnetblur50d
        resnext50_32x4d resnext50d_32x4d rexnet_200 rexnetr_200 selecsls60 selecsls84 seresnet101 seresnet33ts
        seresnext101d_32x8d skresnet50 spnasnet_100 swinv2_cr_huge_224 twins_svt_base vit_relpos_small_patch16_rpn_224
        vitamin_small_224 vovnet39a
    """,
}  # `benchmarks/zoo.py --library torchvision --library timm --sample 60` drew them
NAMES = [(library, name) for library, names in SAMPLE.items() for name in names.split()]


@pytest.fixture(scope="module")
def zoo():
    if not all(map(find_spec, SAMPLE)):
        pytest.skip("needs torchvision and timm, which `make test-all` installs")
    sys.path.insert(0, str(BENCHMARKS))
    import architectures
    import reviewed

    import zoo

    kept = architectures.prepare()
    known = {(e.library, e.name): e for e in architectures.entries(list(SAMPLE))}
    yield zoo, known, reviewed.why
    sys.path.remove(str(BENCHMARKS))
    del kept


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("library", "name"), NAMES)
def test_architecture(library, name, zoo):
    module, known, why = zoo
    result = module.checked(known[library, name])
    assert result.skipped == ""
    assert result.error == ""
    assert result.note == ""
    disputed = [f for f in result.findings if f[1] != "info" and not why(f[0], library, name)]
    assert disputed == []
