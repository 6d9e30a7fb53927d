import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(31)
torch.set_num_threads(1)


class MultiTask(nn.Module):
    """One trunk, three heads: which digit, is it even, how much ink."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.SiLU(), nn.Flatten(),
        )
        self.heads = nn.ModuleDict({
            "digit": nn.Sequential(nn.Linear(512, 64, bias=False), nn.BatchNorm1d(64), nn.SiLU(), nn.Linear(64, 10)),
            "even": nn.Linear(512, 1),
            "ink": nn.Sequential(nn.Linear(512, 32), nn.LayerNorm(32), nn.SiLU(), nn.Linear(32, 1)),
        })
        self.log_var = nn.ParameterDict({k: nn.Parameter(torch.zeros(())) for k in self.heads})

    def forward(self, x):
        f = self.trunk(x)
        return {name: head(f) for name, head in self.heads.items()}


def total_loss(model, out, target):
    parts = {
        "digit": nn.functional.cross_entropy(out["digit"], target["digit"]),
        "even": nn.functional.binary_cross_entropy_with_logits(out["even"][:, 0], target["even"]),
        "ink": nn.functional.mse_loss(out["ink"][:, 0], target["ink"]),
    }
    return sum(torch.exp(-model.log_var[k]) * v + model.log_var[k] for k, v in parts.items()), parts


data = load_digits()
x = torch.tensor(data.images).float().unsqueeze(1) / 16
digit = torch.tensor(data.target)
ink = x.mean((1, 2, 3))
target = {"digit": digit, "even": (digit % 2 == 0).float(), "ink": (ink - ink.mean()) / ink.std()}
train_ids, test_ids = torch.randperm(len(x)).split([1350, len(x) - 1350])
model = MultiTask()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for epoch in range(5):
    model.train()
    for idx in train_ids[torch.randperm(len(train_ids))].split(50):
        loss, parts = total_loss(model, model(x[idx]), {k: v[idx] for k, v in target.items()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        out = model(x[test_ids])
    t = {k: v[test_ids] for k, v in target.items()}
    print(
        f"epoch {epoch} digit {(out['digit'].argmax(1) == t['digit']).float().mean():.3f} "
        f"even {((out['even'][:, 0] > 0).float() == t['even']).float().mean():.3f} "
        f"ink mse {nn.functional.mse_loss(out['ink'][:, 0], t['ink']):.3f}"
    )
