"""Sharpness-aware minimization on breast cancer: two forward and backward passes a step."""
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base = base(self.param_groups, **kwargs)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def climb(self):
        grads = [p.grad for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([g.norm() for g in grads]).norm()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                e = p.grad * (group["rho"] / (norm + 1e-12))
                p.add_(e)
                self.state[p]["e"] = e
        self.zero_grad()

    @torch.no_grad()
    def descend(self):
        for group in self.param_groups:
            for p in group["params"]:
                if "e" in self.state[p]:
                    p.sub_(self.state[p]["e"])
        self.base.step()
        self.zero_grad()

    def step(self, closure=None):
        raise RuntimeError("call climb() and descend()")


def norm_momentum(model, value):
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.momentum = value


torch.manual_seed(2)
torch.set_num_threads(1)
d = load_breast_cancer()
a, b, ta, tb = train_test_split(d.data, d.target, test_size=0.3, random_state=2, stratify=d.target)
s = StandardScaler().fit(a)
a, b = torch.tensor(s.transform(a)).float(), torch.tensor(s.transform(b)).float()
ta, tb = torch.tensor(ta), torch.tensor(tb)

net = nn.Sequential(
    nn.Linear(30, 48, bias=False), nn.BatchNorm1d(48), nn.ReLU(),
    nn.Linear(48, 48, bias=False), nn.BatchNorm1d(48), nn.ReLU(),
    nn.Linear(48, 2),
)
loss_fn = nn.CrossEntropyLoss()
sam = SAM(net.parameters(), torch.optim.SGD, rho=0.05, lr=0.02, momentum=0.9)

for epoch in range(15):
    net.train()
    for i in torch.randperm(len(a))[: len(a) // 32 * 32].view(-1, 32):
        loss = loss_fn(net(a[i]), ta[i])
        loss.backward()
        sam.climb()
        norm_momentum(net, 0.0)
        loss_fn(net(a[i]), ta[i]).backward()
        norm_momentum(net, 0.1)
        sam.descend()
    net.eval()
    with torch.no_grad():
        print("epoch", epoch, "loss %.4f" % loss.item(), "test accuracy %.4f" % (net(b).argmax(1) == tb).float().mean())
