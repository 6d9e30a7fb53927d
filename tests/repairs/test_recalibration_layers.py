"""Which layers are recomputed: all that the user did not freeze, or those that are named."""

import pytest
import torch
from torch import nn

from normscope.repairs import recalibrate
from repairs.models import inputs, mlp


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = mlp(0.0), nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
        self.free = nn.BatchNorm1d(2, track_running_stats=False)

    def forward(self, x):
        return self.free(self.head(self.backbone(x)))


def recomputed(**given):
    model = given.pop("model", None) or Net().train()
    certificate = recalibrate(model, inputs(), **given)
    fresh = [
        path
        for path, m in model.named_modules()
        if isinstance(m, nn.BatchNorm1d) and m.running_mean is not None and not m.running_mean.any()
    ]
    paths = [x.path for x in certificate.layers]
    assert not set(paths) & set(fresh)
    return paths, {x.path: x.reason for x in certificate.left}


def test_all_that_keep_statistics():
    paths, left = recomputed()
    assert paths == ["backbone.1", "backbone.5", "head.0"]
    assert left == {"free": "no running statistics (track_running_stats=False)"}


def test_a_model_in_eval_mode_has_no_layer_frozen_by_its_mode():
    assert len(recomputed(model=Net().eval())[0]) == 3


def test_layers_in_eval_mode_while_the_model_trains_are_frozen():
    model = Net().train()
    model.backbone.eval()
    paths, left = recomputed(model=model)
    assert paths == ["head.0"]
    assert left["backbone.1"] == "frozen: in eval mode while the model trains"
    assert not model.backbone[1].training
    assert model.head[0].training


def test_a_frozen_layer_that_is_named_is_recomputed():
    model = Net().train()
    model.backbone[1].eval()
    paths, _ = recomputed(model=model, layers=["backbone"])
    assert paths == ["backbone.1", "backbone.5"]
    assert not model.backbone[1].training


def test_layers_whose_tracking_was_switched_off_are_frozen():
    model = Net().train()
    model.backbone[1].track_running_stats = False
    paths, left = recomputed(model=model)
    assert paths == ["backbone.5", "head.0"]
    assert "track_running_stats was set to False" in left["backbone.1"]
    paths, _ = recomputed(model=model, layers=["backbone.1"])
    assert paths == ["backbone.1"]


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({"layers": ["backbone"]}, ["backbone.1", "backbone.5"]),
        ({"layers": "backbone.1"}, ["backbone.1"]),
        ({"layers": ["backbone", "head"], "frozen": ["backbone.5"]}, ["backbone.1", "head.0"]),
        ({"frozen": ["backbone"]}, ["head.0"]),
        ({"layers": [""]}, ["backbone.1", "backbone.5", "head.0"]),
    ],
)
def test_by_name_or_prefix(given, paths):
    assert recomputed(**given)[0] == paths


def test_by_module():
    model = Net()
    assert recomputed(model=model, layers=[model.head])[0] == ["head.0"]
    assert recomputed(model=Net(), frozen=[model.head] and ["head"])[0] == [
        "backbone.1",
        "backbone.5",
    ]


def test_what_is_left_alone_normalizes_with_its_running_statistics():
    model = mlp(0.0).train()
    model[1].running_mean.fill_(2.0)
    model[1].running_var.fill_(9.0)
    recalibrate(model, inputs(), frozen=["1"])
    y = (model[0](torch.cat(inputs())) - 2) / (9 + 1e-5) ** 0.5
    truth = model[4](y.relu()).var(0)
    torch.testing.assert_close(model[5].running_var, truth, rtol=1e-4, atol=0)
