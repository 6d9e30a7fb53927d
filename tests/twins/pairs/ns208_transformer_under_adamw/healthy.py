"""Which of the past readings was the largest? Attention over short series of one sensor."""
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        h = self.before_attention(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.before_mlp(x))


class Pointer(nn.Module):
    def __init__(self, steps, width=32, blocks=2):
        super().__init__()
        self.value = nn.Linear(1, width)
        self.place = nn.Embedding(steps, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.final = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)

    def forward(self, series):
        x = self.value(series[..., None]) + self.place.weight
        return self.score(self.final(self.blocks(x)))[..., 0]


def configure_optimizer(model, decay):
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=2e-3)


def main(steps=12, epochs=4):
    torch.manual_seed(1)
    torch.set_num_threads(1)
    series = torch.randn(2000, steps).cumsum(1)
    largest = series.argmax(1)
    model = Pointer(steps)
    optimizer = configure_optimizer(model, decay=0.5)
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(1600).split(40):
            loss = nn.functional.cross_entropy(model(series[rows]), largest[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = (model(series[1600:]).argmax(1) == largest[1600:]).float().mean()
        print(f"epoch {epoch}: loss {loss.item():.3f}, right {right.item():.3f}")
    scales = [m.weight.abs().mean().item() for m in model.modules() if isinstance(m, nn.LayerNorm)]
    print("mean scales of the norms:", [f"{s:.2f}" for s in scales])


if __name__ == "__main__":
    main()
