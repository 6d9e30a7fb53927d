"""VGG with batch norm, a trainer class, early stopping that brings back the best weights and buffers."""
import copy

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit
from torch import nn
from torch.utils.data import DataLoader, Dataset

VGG = [16, 16, "M", 32, 32, "M"]


class Digits(Dataset):
    def __init__(self, images, targets):
        self.images, self.targets = images, targets

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        return torch.from_numpy(self.images[i]).unsqueeze(0), int(self.targets[i])


def make_layers(cfg):
    layers, channels = [], 1
    for v in cfg:
        if v == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, v, 3, padding=1), nn.BatchNorm2d(v), nn.ReLU(inplace=True)]
            channels = v
    return nn.Sequential(*layers)


class VGGNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = make_layers(VGG)
        self.classifier = nn.Sequential(nn.Linear(32 * 4, 64), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(64, 10))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class Trainer:
    def __init__(self, model, loaders, lr=2e-3, patience=2):
        self.model, self.loaders, self.patience = model, loaders, patience
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        self.loss_fn = nn.CrossEntropyLoss()
        self.best, self.best_state, self.bad_epochs = np.inf, None, 0

    def run_epoch(self, split):
        train = split == "train"
        self.model.train(train)
        total, hits, n = 0.0, 0, 0
        with torch.set_grad_enabled(train):
            for x, y in self.loaders[split]:
                logits = self.model(x)
                loss = self.loss_fn(logits, y)
                if train:
                    self.optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    self.optimizer.step()
                total += loss.item() * len(y)
                hits += (logits.argmax(1) == y).sum().item()
                n += len(y)
        return total / n, hits / n

    def fit(self, epochs):
        for epoch in range(epochs):
            train_loss, _ = self.run_epoch("train")
            val_loss, val_acc = self.run_epoch("val")
            print(f"{epoch:02d} train {train_loss:.4f} val {val_loss:.4f} acc {val_acc:.4f}")
            if val_loss < self.best:
                self.best, self.bad_epochs = val_loss, 0
                self.best_state = copy.deepcopy(self.model.state_dict())
            else:
                self.bad_epochs += 1
                if self.bad_epochs > self.patience:
                    print("early stop")
                    break
        self.model.load_state_dict(self.best_state)


if __name__ == "__main__":
    torch.manual_seed(1)
    torch.set_num_threads(1)
    raw = load_digits()
    images = (raw.images / 16).astype(np.float32)
    split = StratifiedShuffleSplit(1, test_size=0.4, random_state=1)
    tr, rest = next(split.split(images, raw.target))
    val, test = rest[::2], rest[1::2]
    sets = {name: Digits(images[i], raw.target[i]) for name, i in dict(train=tr, val=val, test=test).items()}
    loaders = {
        "train": DataLoader(sets["train"], batch_size=32, shuffle=True, drop_last=True),
        "val": DataLoader(sets["val"], batch_size=64),
        "test": DataLoader(sets["test"], batch_size=64),
    }
    trainer = Trainer(VGGNet(), loaders)
    trainer.fit(5)
    loss, acc = trainer.run_epoch("test")
    print(f"test loss {loss:.4f} acc {acc:.4f}")
