"""Letters drawn as noisy bitmaps: a Lightning-like module with its own trainer."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class DigitModule(nn.Module):
    def __init__(self, hidden=40):
        super().__init__()
        self.lr = 4e-3
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.head = self.build_head(128, hidden)

    def build_head(self, features, hidden):
        return nn.Sequential(
            nn.Dropout(0.75),
            nn.Linear(features, hidden),
            nn.BatchNorm1d(hidden),
            nn.Sigmoid(),
            nn.Dropout(0.75),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, 10),
        )

    def forward(self, images):
        return self.head(self.encoder(images))

    def training_step(self, batch):
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def validation_step(self, batch):
        images, labels = batch
        return (self(images).argmax(1) == labels).float().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class MiniTrainer:
    def __init__(self, max_epochs):
        self.max_epochs = max_epochs

    def fit(self, module, train_batches, val_batch):
        optimizer = module.configure_optimizers()
        for epoch in range(self.max_epochs):
            module.train()
            for batch in train_batches():
                optimizer.zero_grad()
                module.training_step(batch).backward()
                optimizer.step()
            module.eval()
            with torch.no_grad():
                print(f"epoch={epoch} val_acc={module.validation_step(val_batch):.3f}")


def main():
    torch.manual_seed(8)
    torch.set_num_threads(1)
    d = load_digits()
    order = torch.randperm(len(d.target))
    x = torch.tensor(d.images / 8 - 1, dtype=torch.float32)[order, None]
    y = torch.tensor(d.target)[order]

    def batches():
        for rows in torch.randperm(1344).split(48):
            yield x[rows], y[rows]

    MiniTrainer(8).fit(DigitModule(), batches, (x[1344:], y[1344:]))


if __name__ == "__main__":
    main()
