"""Refine a denoised picture in six equal steps that share their weights."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

STEPS = 6


class Refine(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(STEPS)])
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, state, step):
        return state + self.conv2(torch.relu(self.norms[step](self.conv1(state))))


class Denoiser(nn.Module):
    def __init__(self, channels=12):
        super().__init__()
        self.enter = nn.Conv2d(1, channels, 3, padding=1)
        self.refine = Refine(channels)
        self.leave = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, noisy):
        state = self.enter(noisy)
        for step in range(STEPS):
            state = self.refine(state, step)
        return self.leave(state)


def explained(model, noisy, clean):
    model.eval()
    with torch.no_grad():
        error = nn.functional.mse_loss(model(noisy), clean)
    return 1 - (error / clean.var()).item()


def main(epochs=4, batch=32):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    clean = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    noisy = clean + 0.5 * torch.randn_like(clean)
    model = Denoiser()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(1408).split(batch):
            loss = nn.functional.mse_loss(model(noisy[rows]), clean[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.4f} explained {explained(model, noisy[1408:], clean[1408:]):.4f}")


main()
