import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    def __init__(self, rows):
        data = load_digits()
        self.x = torch.tensor(data.images[rows], dtype=torch.float32).unsqueeze(1) / 16
        self.y = torch.tensor(data.target[rows])

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"image": self.x[i], "label": self.y[i]}


def loaders(workers, context=None):
    make = dict(num_workers=workers, multiprocessing_context=context, persistent_workers=workers > 0)
    return (
        DataLoader(Digits(slice(0, 1280)), 64, shuffle=True, drop_last=True, **make),
        DataLoader(Digits(slice(1280, None)), 128, **make),
    )


class Layers:
    """Layers in a plain Python object, applied one after the other."""

    def __init__(self, *layers):
        self.layers = layers

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Network(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 10)
        self.body = Layers(self.conv1, self.bn1, F.relu, self.conv2, self.bn2, F.relu)

    def forward(self, x):
        return self.fc(self.body(x).mean(dim=(2, 3)))


class Engine:
    """One pass over a loader at a time; the caller decides what comes when."""

    def __init__(self, model, lr=3e-3):
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        self.scaler = torch.amp.GradScaler("cpu")

    def fit(self, loader):
        for batch in loader:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(self.model(batch["image"]), batch["label"])
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()

    @torch.no_grad()
    def evaluate(self, loader):
        self.model.eval()
        right = total = 0
        for batch in loader:
            right += (self.model(batch["image"]).max(1)[1] == batch["label"]).sum().item()
            total += len(batch["label"])
        return right / total
