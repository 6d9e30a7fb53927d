"""Read the digits as eight tokens with a small transformer."""
import torch
from sklearn.datasets import load_digits
from torch import nn


class Tokens(nn.Module):
    def __init__(self, width=32, layers=2, norm_first=False):
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(0.1 * torch.randn(1, 8, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.classify = nn.Linear(width, 10)

    def forward(self, x):
        return self.classify(self.encoder(self.embed(x) + self.position).mean(1))


def main(norm_first):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = load_digits()
    x, y = torch.tensor(data.images / 16, dtype=torch.float32), torch.tensor(data.target)
    model = Tokens(norm_first=norm_first)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=30)
    for epoch in range(5):
        model.train()
        for rows in torch.randperm(1400).split(50):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warm_up.step()
        print(f"epoch {epoch} loss {loss.item():.3f}")
    model.eval()
    with torch.no_grad():
        print(f"accuracy {(model(x[1400:]).argmax(1) == y[1400:]).float().mean().item():.3f}")


if __name__ == "__main__":
    main(norm_first=False)
