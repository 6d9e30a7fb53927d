# Saves the memory of gradients: each parameter has an optimizer of its own that steps inside the backward pass.
import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(4)
torch.set_num_threads(1)


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d))

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class Regressor(nn.Module):
    def __init__(self, d=32, blocks=3):
        super().__init__()
        self.embed = nn.Linear(10, d)
        self.blocks = nn.Sequential(*[Block(d) for _ in range(blocks)])
        self.final = nn.LayerNorm(d)
        self.out = nn.Linear(d, 1)

    def forward(self, x):
        return self.out(self.final(self.blocks(self.embed(x)))).squeeze(1)


def step_in_backward(model, **settings):
    own = {p: torch.optim.Adam([p], **settings) for p in model.parameters() if p.dim() == 2}

    def step(p):
        own[p].step()
        own[p].zero_grad()

    for p in own:
        p.register_post_accumulate_grad_hook(step)
    return own


x, y = (torch.tensor(a, dtype=torch.float32) for a in load_diabetes(return_X_y=True))
x, y = x / x.std(0), (y - y.mean()) / y.std()
x_train, y_train, x_test, y_test = x[:340], y[:340], x[340:], y[340:]

model = Regressor()
optimizers = step_in_backward(model, lr=1e-3)
for epoch in range(30):
    total = 0.0
    for i in torch.randperm(340).split(34):
        loss = nn.functional.mse_loss(model(x_train[i]), y_train[i])
        loss.backward()
        total += loss.item()
with torch.no_grad():
    r2 = 1 - (model(x_test) - y_test).square().mean() / y_test.var()
scales = torch.cat([m.weight.detach() for m in model.modules() if isinstance(m, nn.LayerNorm)])
print(f"train loss {total / 10:.3f} test R2 {r2:.3f} spread of scales {scales.std():.4f}")
