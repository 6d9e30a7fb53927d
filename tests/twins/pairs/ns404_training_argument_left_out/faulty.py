"""Digits with layers that take their mode as an argument."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class BatchNormalization(nn.Module):
    def __init__(self, width, decay=0.9):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.decay = decay

    def forward(self, x, training=False):
        return F.batch_norm(x, self.running_mean, self.running_var, self.gamma, self.beta,
                            training=training, momentum=1 - self.decay)


class Model(nn.Module):
    def __init__(self, depth=8, width=16):
        super().__init__()
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for i in range(depth):
            self.convs.append(nn.Conv2d(1 if i == 0 else width, width, 3, padding=1, bias=False))
            self.norms.append(BatchNormalization(width))
        self.head = nn.Linear(width * 4, 10)

    def forward(self, x, training=False):
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(conv(x), training=training))
        return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))


torch.manual_seed(0)
torch.set_num_threads(1)
d = load_digits()
x = torch.tensor(d.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(d.target)
model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(3):
    for rows in torch.randperm(1344).split(64):
        logits = model(x[rows])
        loss = F.cross_entropy(logits, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(x[1344:]).argmax(1) == y[1344:]).float().mean()
    print(f"epoch {epoch}: loss {loss:.3f}, test accuracy {accuracy:.3f}")
