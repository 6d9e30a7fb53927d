"""SimSiam pretraining, then a linear probe on frozen features in evaluation mode."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


class SimSiam(nn.Module):
    def __init__(self, encoder, feature_dim, dim=64, pred_dim=16):
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Sequential(
            nn.Linear(feature_dim, feature_dim, bias=False), nn.BatchNorm1d(feature_dim), nn.ReLU(inplace=True),
            nn.Linear(feature_dim, dim, bias=False), nn.BatchNorm1d(dim, affine=False),
        )
        self.predictor = nn.Sequential(
            nn.Linear(dim, pred_dim, bias=False), nn.BatchNorm1d(pred_dim), nn.ReLU(inplace=True), nn.Linear(pred_dim, dim)
        )

    def forward(self, x1, x2):
        z1 = self.projector(self.encoder(x1))
        z2 = self.projector(self.encoder(x2))
        return self.predictor(z1), self.predictor(z2), z1.detach(), z2.detach()


def augment(x):
    n = len(x)
    theta = torch.zeros(n, 2, 3)
    angle = 0.3 * torch.randn(n)
    scale = 1 + 0.15 * torch.randn(n)
    theta[:, 0, 0], theta[:, 0, 1] = scale * angle.cos(), -angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), scale * angle.cos()
    theta[:, :, 2] = 0.15 * torch.randn(n, 2)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False) + 0.05 * torch.randn_like(x)


def pretrain(model, x, epochs, batch_size=128):
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        batches = [i for i in torch.randperm(len(x)).split(batch_size) if len(i) == batch_size]
        for idx in batches:
            p1, p2, z1, z2 = model(augment(x[idx]), augment(x[idx]))
            loss = -(F.cosine_similarity(p1, z2).mean() + F.cosine_similarity(p2, z1).mean()) / 2
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item()
        schedule.step()
        print(f"pretrain {epoch} loss {total / len(batches):.4f}")


def probe(encoder, feature_dim, x, y, xt, yt):
    encoder.requires_grad_(False)
    encoder.eval()
    head = nn.Linear(feature_dim, 10)
    opt = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(15):
        for idx in torch.randperm(len(x)).split(128):
            with torch.no_grad():
                f = encoder(x[idx])
            loss = F.cross_entropy(head(f), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
    with torch.no_grad():
        return (head(encoder(xt)).argmax(1) == yt).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    target = torch.tensor(digits.target)
    x, xt, y, yt = train_test_split(images, target, test_size=0.25, random_state=0)
    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(),
    )
    pretrain(SimSiam(encoder, 256), x, epochs=6)
    print(f"linear probe accuracy {probe(encoder, 256, x, y, xt, yt):.4f}")
