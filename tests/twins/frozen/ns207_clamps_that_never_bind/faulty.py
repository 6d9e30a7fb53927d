"""Progress of diabetes from ten measurements, with batch renormalization built upon BatchNorm1d."""

import torch
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale
from torch.nn import BatchNorm1d, Linear, Sequential, SiLU
from torch.nn.functional import mse_loss


class BatchRenorm1d(BatchNorm1d):
    """Its bounds open from 1 and 0 to `rmax` and `dmax` between the steps `begin` and `end`."""

    def __init__(self, features, rmax=1e6, dmax=1e6, begin=0, end=1):
        super().__init__(features, eps=1e-3)
        self.rmax, self.dmax, self.begin, self.end = rmax, dmax, begin, end

    def opened(self):
        step = self.num_batches_tracked.item()
        share = min(max((step - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return 1 + share * (self.rmax - 1), share * self.dmax

    def forward(self, x):
        known = torch.sqrt(self.running_var + self.eps)
        if not self.training:
            return (x - self.running_mean) / known * self.weight + self.bias
        variance, mean = torch.var_mean(x, 0, correction=0)
        deviation = torch.sqrt(variance + self.eps)
        most_r, most_d = self.opened()
        r = torch.clamp(deviation.detach() / known, 1 / most_r, most_r)
        d = torch.clamp((mean.detach() - self.running_mean) / known, -most_d, most_d)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        return ((x - mean) / deviation * r + d) * self.weight + self.bias


def layer(inputs, outputs):
    return [Linear(inputs, outputs), BatchRenorm1d(outputs), SiLU()]


torch.manual_seed(3)
torch.set_num_threads(1)
data, target = load_diabetes(return_X_y=True, scaled=False)
data = torch.tensor(scale(data), dtype=torch.float32)
target = torch.tensor(scale(target), dtype=torch.float32)[:, None]
shuffled = torch.randperm(len(data))
fit, held_out = shuffled[:352], shuffled[352:]

network = Sequential(*layer(10, 48), *layer(48, 48), Linear(48, 1))
optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
for epoch in range(20):
    network.train()
    for rows in fit[torch.randperm(352)].split(16):
        loss = mse_loss(network(data[rows]), target[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
network.eval()
with torch.no_grad():
    error = mse_loss(network(data[held_out]), target[held_out])
print(f"error {error.item():.3f} of the variance 1")
