"""Lightning: a small convolutional classifier on the digits; the first argument names a fault."""

import logging
import sys
import warnings

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
L.seed_everything(0, verbose=False)
torch.set_num_threads(1)
fault = sys.argv[1] if len(sys.argv) > 1 else ""


class DigitsData(L.LightningDataModule):
    def setup(self, stage=None):
        digits = load_digits()
        x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
        y = torch.tensor(digits.target)
        bounds = ((0, 400 if fault == "two-images" else 1200), (1200, 1500), (1500, 1797))
        self.parts = [TensorDataset(x[a:b], y[a:b]) for a, b in bounds]

    def train_dataloader(self):
        if fault == "two-images":
            return DataLoader(self.parts[0], batch_size=2, shuffle=True)
        return DataLoader(self.parts[0], batch_size=64, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.parts[1], batch_size=100)

    def test_dataloader(self):
        return DataLoader(self.parts[2], batch_size=100)


class LitDigits(L.LightningModule):
    def __init__(self, lr=2e-3):
        super().__init__()
        self.save_hyperparameters()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.head = nn.Linear(96, 10)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def on_train_epoch_start(self):
        if fault == "features-in-eval":
            self.features.eval()

    def on_validation_epoch_start(self):
        if fault == "validation-in-train":
            self.train()

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", (logits.argmax(1) == y).float().mean())

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


model, data = LitDigits(), DigitsData()
trainer = L.Trainer(
    max_epochs=4,
    accumulate_grad_batches=16 if fault == "two-images" else 1,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, data)
print("validation", round(trainer.callback_metrics["val_acc"].item(), 4))
(result,) = trainer.test(model, data, verbose=False)
print("test", round(result["test_acc"], 4))
