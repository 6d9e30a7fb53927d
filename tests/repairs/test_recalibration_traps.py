"""The traps of other recalibrators, one test each, named after what goes wrong there. Ours has none of them."""

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.repairs import recalibrate
from normscope.repairs.recalibration.drop_in import update_bn, update_bn_stats
from repairs.models import inputs, mlp, seen_by, state_of


def test_torch_switches_the_whole_model_to_train_mode_so_that_dropout_is_on():
    model = mlp(dropout=0.9).train()
    update_bn(inputs(), model)
    seen = seen_by(model, inputs(), [model[1], model[5]])  # dropout off
    torch.testing.assert_close(
        model[5].running_var.double(), seen[model[5]].var(0), rtol=1e-5, atol=0
    )


def test_torch_unfreezes_and_resets_norms_that_the_user_froze():
    model = mlp().train()
    model[1].eval()
    model[1].running_mean.fill_(7.0)
    update_bn(inputs(), model)
    assert torch.all(model[1].running_mean == 7)
    assert int(model[1].num_batches_tracked) == 0


def test_torch_flattens_the_modes_of_the_modules():
    model = mlp().train()
    model[1].eval()
    model[3].eval()
    modes = [m.training for m in model.modules()]
    update_bn(inputs(), model)
    assert [m.training for m in model.modules()] == modes


def test_torch_takes_no_batches_of_mappings():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, image):
            return self.norm(image)

    model = Net()
    update_bn([{"image": x, "label": 0} for x in inputs()], model)
    assert model.norm.running_mean.any()


def test_torch_has_reset_the_statistics_when_the_loader_fails():
    def loader():
        yield inputs()[0]
        raise OSError("no such file")

    model = mlp()
    model(inputs()[0])
    before = state_of(model)
    with pytest.raises(OSError, match="no such file"):
        update_bn(loader(), model)
    assert state_of(model) == before


def test_torch_averages_batch_variances_and_misses_what_lies_between_batches():
    norm = nn.BatchNorm1d(2)
    batches = [mean + torch.randn(16, 2) for mean in (-5.0, 5.0)]
    update_bn(batches, norm)
    truth = torch.cat(batches).var(0)  # about 26, of which 25 lie between the batches
    torch.testing.assert_close(norm.running_var, truth)


def test_torch_gives_a_short_last_batch_the_weight_of_a_whole_one():
    norm = nn.BatchNorm1d(2)
    batches = [torch.randn(100, 2), 50 + torch.randn(2, 2)]
    update_bn(batches, norm)
    torch.testing.assert_close(norm.running_mean, torch.cat(batches).mean(0))


def test_torch_fails_at_a_last_batch_of_one_sample():
    model = mlp()
    update_bn([*inputs(), torch.randn(1, 4)], model)
    assert model[5].running_mean.any()


def test_torch_keeps_what_was_not_a_number_after_a_nan_in_a_batch():
    model = mlp()
    before = state_of(model)
    with pytest.raises(NormscopeError, match="not finite"):
        update_bn([*inputs(), torch.full((8, 4), float("nan"))], model)
    assert state_of(model) == before


def test_fvcore_leaves_momentum_one_and_hooks_when_the_loader_is_too_short():
    model = mlp().train()
    momenta = [model[1].momentum, model[5].momentum]
    certificate = update_bn_stats(model, inputs(), num_iters=200)
    assert certificate.batches == 3
    assert any("only 96 samples" in w for w in certificate.warnings)
    assert [model[1].momentum, model[5].momentum] == momenta
    assert not model[1]._forward_pre_hooks
    assert not model[1]._forward_hooks


def test_fvcore_leaves_momentum_one_when_the_forward_pass_fails():
    model = mlp().train()
    before = state_of(model)
    with pytest.raises(RuntimeError):
        update_bn_stats(model, [*inputs(), torch.randn(8, 3)], num_iters=4)
    assert state_of(model) == before


def test_fvcore_stops_at_a_norm_that_is_called_twice():
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(norm, nn.Linear(4, 4), norm).train()
    assert update_bn_stats(model, inputs(), num_iters=3).layers[0].calls == 6


def test_fvcore_puts_other_tensors_in_the_place_of_the_buffers():
    model = mlp().train()
    mean, var = model[1].running_mean, model[1].running_var
    update_bn_stats(model, inputs(), num_iters=3)
    assert model[1].running_mean is mean
    assert model[1].running_var is var


def test_fvcore_lets_dropout_and_other_layers_run_in_train_mode():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("steps", torch.zeros(()))

        def forward(self, x):
            if self.training:
                self.steps += 1
            return x

    model = nn.Sequential(nn.BatchNorm1d(4), Counting()).train()
    update_bn_stats(model, inputs(), num_iters=3)
    assert not model[1].steps


def test_fvcore_has_no_device_and_hands_the_model_the_whole_batch():
    model = mlp().train()
    update_bn_stats(model, [(x, torch.zeros(len(x))) for x in inputs()], num_iters=3)
    assert model[1].running_mean.any()


def test_mmpretrain_writes_zeros_when_fewer_samples_than_a_batch_are_asked_for():
    model = mlp()
    certificate = recalibrate(model, inputs(), samples=5)
    assert certificate.samples == 32
    assert model[1].running_var.all()


def test_mmpretrain_counts_batches_of_a_deeper_layer_like_those_of_the_first():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.flat = nn.BatchNorm2d(2), nn.BatchNorm1d(2)

        def forward(self, x):
            return self.flat(self.wide(x).amax((2, 3)))

    model = Pooled()
    batches = [torch.randn(4, 2, 3, 3), torch.randn(2, 2, 9, 9)]
    values = [x.values for x in recalibrate(model, batches).layers]
    assert values == [4 * 9 + 2 * 81, 6]


def test_a_function_called_twice_leaves_momentum_zero_for_the_rest_of_training():
    model = mlp().train()
    model[1].momentum, model[5].momentum = 0.3, None
    for _ in range(2):
        recalibrate(model, inputs())
    assert [model[1].momentum, model[5].momentum] == [0.3, None]
    before = model[1].running_mean.clone()
    model(10 + inputs()[0])
    assert not torch.equal(model[1].running_mean, before)


def test_lightning_forgets_that_a_cumulative_average_has_momentum_none():
    model = nn.BatchNorm1d(4, momentum=None)
    recalibrate(model, inputs())
    assert model.momentum is None
    torch.testing.assert_close(model.running_mean, torch.cat(inputs()).mean(0))


def test_averaged_models_end_with_a_negative_variance():
    norm = nn.BatchNorm1d(2)
    norm.running_var.fill_(-1.0)
    recalibrate(norm, inputs(width=2))
    assert torch.all(norm.running_var > 0)


def test_swapped_weights_keep_the_statistics_of_others_without_a_word():
    model = mlp()
    recalibrate(model, inputs())
    with torch.no_grad():
        model[0].weight.mul_(3)
    certificate = recalibrate(model, inputs())
    assert certificate.layers[0].log_sd > 0.5  # ln 3 is 1.1
    assert "sd by a factor of" in certificate.text()
