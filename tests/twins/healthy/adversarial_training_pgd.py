"""Adversarial training: PGD runs with the network in evaluation mode, the step in training mode."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class AttackPGD:
    def __init__(self, model, epsilon=0.1, step_size=0.04, steps=3):
        self.model, self.epsilon, self.step_size, self.steps = model, epsilon, step_size, steps

    def __call__(self, x, y):
        was = self.model.training
        self.model.eval()
        adv = x + torch.empty_like(x).uniform_(-self.epsilon, self.epsilon)
        for _ in range(self.steps):
            adv.requires_grad_(True)
            loss = F.cross_entropy(self.model(adv), y)
            (grad,) = torch.autograd.grad(loss, adv)
            adv = adv.detach() + self.step_size * grad.sign()
            adv = (x + (adv - x).clamp(-self.epsilon, self.epsilon)).clamp(0, 1)
        self.model.train(was)
        return adv.detach()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
    xt, yt = x[1344:], y[1344:]
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Flatten(), nn.Linear(384, 10),
    )
    attack = AttackPGD(net)
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 5)
    for epoch in range(5):
        net.train()
        for idx in torch.randperm(1344).split(64):
            adv = attack(x[idx], y[idx])
            loss = F.cross_entropy(net(adv), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        sched.step()
        net.eval()
        robust = (net(attack(xt, yt)).argmax(1) == yt).float().mean().item()
        with torch.no_grad():
            clean = (net(xt).argmax(1) == yt).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.3f} clean {clean:.3f} robust {robust:.3f}")


main()
