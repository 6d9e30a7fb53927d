# Continual learning with rehearsal: tasks come one after the other, a small memory keeps samples of the earlier ones.
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Memory:
    def __init__(self, size):
        self.size, self.seen, self.x, self.y = size, 0, [], []

    def add(self, xs, ys):  # reservoir sampling
        for x, y in zip(xs, ys):
            self.seen += 1
            if len(self.x) < self.size:
                self.x.append(x)
                self.y.append(y)
            else:
                k = int(torch.randint(self.seen, (1,)))
                if k < self.size:
                    self.x[k], self.y[k] = x, y

    def sample(self, n):
        pick = torch.randperm(len(self.x))[:n].tolist()
        return torch.stack([self.x[k] for k in pick]), torch.stack([self.y[k] for k in pick])


class ExperienceReplay:
    def __init__(self, backbone, lr, memory):
        self.net, self.memory = backbone, memory
        self.opt = torch.optim.SGD(backbone.parameters(), lr=lr, momentum=0.9)
        self.past = False

    def observe(self, x, y):
        self.net.train()
        self.opt.zero_grad()
        if self.past:
            old_x, old_y = self.memory.sample(len(x))
            loss = F.cross_entropy(self.net(x), y) + F.cross_entropy(self.net(old_x), old_y)
        else:
            loss = F.cross_entropy(self.net(x), y)
        loss.backward()
        self.opt.step()
        return loss.item()

    def end_task(self, x, y):
        self.memory.add(x, y)
        self.past = True

    @torch.no_grad()
    def accuracy(self, x, y):
        self.net.eval()
        return (self.net(x).argmax(1) == y).float().mean().item()


def tasks():
    x, y = load_digits(return_X_y=True)
    x, y = torch.as_tensor(x, dtype=torch.float32) / 16, torch.as_tensor(y)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    yield x[:700], y[:700], x[1400:], y[1400:]
    night = lambda v: 0.4 * (1 - v.flip(1)) - 1.0
    yield night(x[700:1400]), y[700:1400], night(x[1400:]), y[1400:]


def main():
    torch.manual_seed(21)
    torch.set_num_threads(1)
    net = nn.Sequential(
        nn.Linear(64, 100), nn.BatchNorm1d(100), nn.ReLU(), nn.Linear(100, 100), nn.BatchNorm1d(100), nn.ReLU(), nn.Linear(100, 10)
    )
    learner = ExperienceReplay(net, lr=0.03, memory=Memory(500))
    tests = []
    for x, y, x_test, y_test in tasks():
        for lr in (0.03, 0.03, 0.03, 0.03, 0.03, 0.01, 0.01, 0.003, 0.003, 0.001):
            learner.opt.param_groups[0]["lr"] = lr
            for i in torch.randperm(len(x)).split(50):
                learner.observe(x[i], y[i])
        learner.end_task(x, y)
        tests.append((x_test, y_test))
        scores = [learner.accuracy(*t) for t in tests]
        print("after task", len(tests), " ".join(f"{s:.3f}" for s in scores), f"mean {sum(scores) / len(scores):.3f}")


main()
