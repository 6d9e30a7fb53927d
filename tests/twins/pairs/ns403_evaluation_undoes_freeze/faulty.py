import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(1)
torch.set_num_threads(1)
data = load_digits()
X = data.data.astype(np.float32) / 16
Y = torch.from_numpy(data.target)
first = torch.from_numpy(X)
second = torch.from_numpy(0.3 * (1 - X))  # an inverted, dim camera
train_rows, test_rows = torch.arange(1200), torch.arange(1200, 1797)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Linear(64, 96, bias=False), nn.BatchNorm1d(96), nn.ReLU(),
            nn.Linear(96, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.features(x))


class Strategy:
    def __init__(self, model, parameters, lr, eval_every=10):
        self.model, self.eval_every, self.clock = model, eval_every, 0
        self.optimizer = torch.optim.SGD(parameters, lr, momentum=0.9)

    def experience(self, x, epochs, batch=60):
        for _ in range(epochs):
            for rows in train_rows[torch.randperm(len(train_rows))].split(batch):
                self.optimizer.zero_grad()
                nn.functional.cross_entropy(self.model(x[rows]), Y[rows]).backward()
                self.optimizer.step()
                self.clock += 1
                if self.clock % self.eval_every == 0:
                    self.evaluate(x)

    @torch.no_grad()
    def evaluate(self, x):
        self.model.eval()
        score = (self.model(x[test_rows]).argmax(1) == Y[test_rows]).float().mean().item()
        self.model.train()
        return score


net = Net()
one = Strategy(net, net.parameters(), 0.05)
one.experience(first, epochs=6)
print("first camera, after it", one.evaluate(first))

# the second experience may adapt the head only: features stay, statistics included
for p in net.features.parameters():
    p.requires_grad_(False)
for m in net.modules():
    if isinstance(m, nn.BatchNorm1d):
        m.eval()
head = {k: v.clone() for k, v in net.head.state_dict().items()}
two = Strategy(net, net.head.parameters(), 0.05)
two.experience(second, epochs=3)
net.head.load_state_dict(head)
print("first camera with its own head again", two.evaluate(first))
