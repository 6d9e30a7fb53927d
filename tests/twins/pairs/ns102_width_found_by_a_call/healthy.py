# The width of the features is found by a look at what the backbone returns.
import torch
from sklearn.datasets import load_digits
from torch import nn

BEFORE = False


class Backbone(nn.Module):
    def __init__(self, width):
        super().__init__()
        drop = nn.Dropout(0.7)
        first = [drop, nn.BatchNorm1d(width)] if BEFORE else [nn.BatchNorm1d(width), drop]
        second = [drop, nn.BatchNorm1d(width)] if BEFORE else [nn.BatchNorm1d(width), drop]
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), *first, nn.Linear(width, width), nn.ReLU(), *second)

    def forward(self, x):
        return self.layers(x.flatten(1))


class Classifier(nn.Module):
    def __init__(self, backbone, classes):
        super().__init__()
        self.backbone = backbone
        with torch.no_grad():
            width = backbone.eval()(torch.zeros(2, 8, 8)).shape[1]
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.backbone(x))


torch.manual_seed(8)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.images / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
order = torch.randperm(len(x))
train, test = order[:1400], order[1400:]
model = Classifier(Backbone(48), 10)
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
for epoch in range(14):
    model.train()
    for chunk in train[torch.randperm(len(train))].split(50):
        loss = nn.functional.cross_entropy(model(x[chunk]), y[chunk])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()
with torch.no_grad():
    print(f"accuracy {(model(x[test]).argmax(1) == y[test]).float().mean():.3f}")
