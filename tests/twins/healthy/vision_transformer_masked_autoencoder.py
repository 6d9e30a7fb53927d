"""Masked autoencoder on 8x8 digits cut into 2x2 patches (layer norm), then a linear probe."""
from dataclasses import dataclass, field

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from torch import Tensor, nn


@dataclass
class Options:
    dim: int = 32
    depth: int = 2
    mask: float = 0.6
    epochs: int = 12
    batch: int = 128
    lr: float = 3e-3
    betas: tuple = field(default=(0.9, 0.95))


def patchify(x: Tensor) -> Tensor:
    return x.unfold(1, 2, 2).unfold(2, 2, 2).reshape(len(x), 16, 4)


class MAE(nn.Module):
    def __init__(self, o: Options):
        super().__init__()
        self.keep = int(16 * (1 - o.mask))
        self.embed = nn.Linear(4, o.dim)
        self.pos = nn.Parameter(0.02 * torch.randn(1, 16, o.dim))
        layer = nn.TransformerEncoderLayer(o.dim, 4, 2 * o.dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, o.depth, norm=nn.LayerNorm(o.dim), enable_nested_tensor=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, o.dim))
        self.decoder = nn.TransformerEncoderLayer(o.dim, 4, 2 * o.dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.predict = nn.Sequential(nn.LayerNorm(o.dim), nn.Linear(o.dim, 4))

    def encode(self, patches: Tensor) -> Tensor:
        return self.encoder(self.embed(patches) + self.pos).flatten(1)

    def forward(self, patches: Tensor) -> Tensor:
        n = len(patches)
        order = torch.rand(n, 16).argsort(1)
        shown, back = order[:, :self.keep], order.argsort(1)
        tokens = self.embed(patches) + self.pos
        take = shown[..., None].expand(-1, -1, tokens.shape[-1])
        code = self.encoder(tokens.gather(1, take))
        full = torch.cat([code, self.mask_token.expand(n, 16 - self.keep, -1)], 1)
        full = full.gather(1, back[..., None].expand(-1, -1, full.shape[-1])) + self.pos
        hidden = torch.ones(n, 16).scatter(1, shown, 0.0)
        error = (self.predict(self.decoder(full)) - patches).square().mean(-1)
        return (error * hidden).sum() / hidden.sum()


def main(o: Options) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    x, y = patchify(torch.tensor(d.images).float() / 16), d.target
    model = MAE(o)
    opt = torch.optim.AdamW(model.parameters(), lr=o.lr, betas=o.betas, weight_decay=0.05)
    for epoch in range(o.epochs):
        model.train()
        for idx in torch.randperm(1300).split(o.batch):
            loss = model(x[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        if epoch % 4 == 3:
            model.eval()
            with torch.inference_mode():
                f = model.encode(x).numpy()
            clf = RidgeClassifier(1.0).fit(f[:1300], y[:1300])
            print(f"epoch {epoch} masked mse {loss.item():.4f} probe {clf.score(f[1300:], y[1300:]):.3f}")


if __name__ == "__main__":
    main(Options())
