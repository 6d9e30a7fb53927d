"""Tabular data: entity embeddings for categories, batch norm for numbers, quantile (pinball) loss."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

QUANTILES = torch.tensor([0.1, 0.5, 0.9])


def make_table(n, rng):
    store = rng.integers(0, 30, n)
    weekday = rng.integers(0, 7, n)
    price = rng.lognormal(3, 0.5, n)
    footfall = rng.gamma(2, 400, n)
    effect = np.sin(np.arange(30) * 1.7)[store] + 0.3 * (weekday >= 5)
    mean = effect + 0.8 * np.log(footfall / 800) - 0.5 * np.log(price / 20)
    sales = mean + rng.standard_normal(n) * (0.2 + 0.3 * (weekday >= 5))
    numbers = np.stack([price, footfall, price * footfall], 1)
    return (torch.tensor(np.stack([store, weekday], 1)), torch.tensor(numbers, dtype=torch.float32), torch.tensor(sales, dtype=torch.float32))


class TabularModel(nn.Module):
    def __init__(self, cardinalities, n_cont, sizes=(96, 48), p=0.05):
        super().__init__()
        self.embeds = nn.ModuleList(nn.Embedding(c, min(16, (c + 1) // 2)) for c in cardinalities)
        self.emb_drop = nn.Dropout(p)
        self.bn_cont = nn.BatchNorm1d(n_cont)
        width, layers = sum(e.embedding_dim for e in self.embeds) + n_cont, []
        for s in sizes:
            layers += [nn.Linear(width, s), nn.ReLU(inplace=True), nn.BatchNorm1d(s)]
            width = s
        self.layers = nn.Sequential(*layers, nn.Linear(width, len(QUANTILES)))

    def forward(self, cat, cont):
        x = self.emb_drop(torch.cat([e(cat[:, k]) for k, e in enumerate(self.embeds)], 1))
        return self.layers(torch.cat([x, self.bn_cont(cont)], 1))


def pinball(pred, y):
    e = y[:, None] - pred
    return torch.maximum(QUANTILES * e, (QUANTILES - 1) * e).mean()


def run():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    train, test = TensorDataset(*make_table(4000, rng)), make_table(1000, rng)
    # 4000 = 31 * 128 + 32
    loader = DataLoader(train, batch_size=128, shuffle=True)
    model = TabularModel([30, 7], 3)
    opt = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-2, epochs=8, steps_per_epoch=len(loader))
    for epoch in range(8):
        model.train()
        for cat, cont, y in loader:
            loss = pinball(model(cat, cont), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
        model.eval()
        with torch.no_grad():
            q = model(*test[:2])
        covered = ((test[2] > q[:, 0]) & (test[2] < q[:, 2])).float().mean()
        print(f"epoch {epoch} pinball train {loss.item():.3f} test {pinball(q, test[2]).item():.3f} coverage of the 80 % band {covered:.2f}")


run()
