"""The well-known signatures, against what their originals compute where those are right."""

import inspect

import pytest
import torch
from torch import nn
from torch.optim import swa_utils
from torch.utils.data import DataLoader, TensorDataset

from normscope.errors import NormscopeError
from normscope.repairs.recalibration import update_bn, update_bn_stats
from repairs.models import inputs, mlp


def twins():
    one, two = mlp(0.0), mlp(0.0)
    two.load_state_dict(one.state_dict())
    return one, two


def test_update_bn_has_torchs_parameters():
    assert list(inspect.signature(update_bn).parameters) == list(
        inspect.signature(swa_utils.update_bn).parameters
    )


def test_update_bn_has_torchs_means_on_equal_batches():
    one, two = twins()
    loader = [(x, torch.zeros(len(x))) for x in inputs()]
    assert update_bn(loader, one) is None
    swa_utils.update_bn(loader, two)
    torch.testing.assert_close(one[5].running_mean, two[5].running_mean, rtol=1e-5, atol=1e-6)
    assert int(one[5].num_batches_tracked) == int(two[5].num_batches_tracked) == 3


def test_update_bn_takes_the_whole_loader():
    norm = nn.BatchNorm1d(2)
    update_bn(DataLoader(TensorDataset(torch.randn(12_000, 2)), batch_size=1000), norm)
    assert int(norm.num_batches_tracked) == 12


def test_update_bn_takes_a_device():
    model = mlp()
    update_bn(inputs(), model, device="cpu")
    update_bn(inputs(), model, device=torch.device("cpu"))


def test_update_bn_stats_takes_so_many_batches_and_leaves_layers_in_eval_mode():
    model = mlp().train()
    model[1].eval()
    certificate = update_bn_stats(model, inputs(), num_iters=2)
    assert certificate.batches == 2
    assert [x.path for x in certificate.layers] == ["5"]


def test_update_bn_stats_does_nothing_without_a_layer_in_train_mode():
    model = mlp().eval()
    before = model[1].running_mean.clone()
    assert update_bn_stats(model, inputs()) is None
    assert torch.equal(model[1].running_mean, before)


def test_update_bn_stats_counts_on_a_terminal_only(capfd):
    assert update_bn_stats(mlp().train(), inputs(), 3, "tqdm").samples == 96
    assert capfd.readouterr() == ("", "")
    with pytest.raises(NormscopeError, match="None or 'tqdm'"):
        update_bn_stats(mlp().train(), inputs(), 3, "bar")
