import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

torch.manual_seed(2)
torch.set_num_threads(1)

DIM, QUEUE, TEMPERATURE, M = 32, 512, 0.2, 0.99


def base_encoder():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(inplace=True), nn.Linear(64, DIM),
    )


class MoCo(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder_q = base_encoder()
        self.encoder_k = copy.deepcopy(self.encoder_q)
        for p in self.encoder_k.parameters():
            p.requires_grad = False
        self.register_buffer("queue", F.normalize(torch.randn(DIM, QUEUE), dim=0))
        self.ptr = 0

    @torch.no_grad()
    def _momentum_update(self):
        for q, k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            k.data = k.data * M + q.data * (1.0 - M)

    @torch.no_grad()
    def _enqueue(self, keys):
        n = len(keys)
        self.queue[:, self.ptr:self.ptr + n] = keys.T
        self.ptr = (self.ptr + n) % QUEUE

    def forward(self, im_q, im_k):
        q = F.normalize(self.encoder_q(im_q), dim=1)
        with torch.no_grad():
            self._momentum_update()
            order = torch.randperm(len(im_k))  # keys see other batch mates than queries
            k = F.normalize(torch.cat([self.encoder_k(part) for part in im_k[order].chunk(2)]), dim=1)
            k = k[torch.argsort(order)]
        pos = (q * k).sum(1, keepdim=True)
        neg = q @ self.queue.clone()
        self._enqueue(k)
        return torch.cat([pos, neg], dim=1) / TEMPERATURE


def two_crops(x):
    def one():
        shift = torch.randint(-1, 2, (2,)).tolist()
        y = torch.roll(x, shift, (2, 3))
        keep = (torch.rand(len(x), 1, 8, 8) > 0.1).float()
        return y * keep * (0.7 + 0.6 * torch.rand(len(x), 1, 1, 1))
    return one(), one()


digits = load_digits()
x = torch.tensor(digits.images).float()[:, None] / 16
y = digits.target
train, test = slice(0, 1280), slice(1280, None)

model = MoCo()
optimizer = torch.optim.SGD(model.encoder_q.parameters(), lr=0.06, momentum=0.9, weight_decay=1e-4)
model.train()
for epoch in range(5):
    for idx in torch.randperm(1280).split(128):
        logits = model(*two_crops(x[train][idx]))
        loss = F.cross_entropy(logits, torch.zeros(len(idx), dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: InfoNCE {loss.item():.3f}")

backbone = model.encoder_q
backbone.eval()
with torch.no_grad():
    features = backbone[:8](x).numpy()
clf = LogisticRegression(max_iter=200).fit(features[train], y[train])
print("probe accuracy", round(clf.score(features[test], y[test]), 4))
