import torch
from sklearn.datasets import load_digits
from torch import nn, optim


class Autoencoder(nn.Module):
    def __init__(self, code=12):
        super().__init__()
        self.encode = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ELU(),
            nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ELU(),
            nn.Flatten(), nn.Linear(128, code),
        )
        self.decode = nn.Sequential(
            nn.Linear(code, 128, bias=False), nn.BatchNorm1d(128), nn.ELU(), nn.Unflatten(1, (32, 2, 2)),
            nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ELU(),
            nn.ConvTranspose2d(16, 1, 4, 2, 1),
        )

    def forward(self, x):
        return torch.sigmoid(self.decode(self.encode(x)))


def corrupt(x):
    return (x + 0.3 * torch.randn_like(x)).clamp(0, 1)


def main():
    torch.manual_seed(17)
    torch.set_num_threads(1)
    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16
    images = images[torch.randperm(len(images))]
    train, test = images[:1440], images[1440:]
    model = Autoencoder()
    optimizer = optim.RMSprop(model.parameters(), lr=1e-3)
    for epoch in range(6):
        model.train()
        for x in train[torch.randperm(len(train))].split(48):
            loss = nn.functional.mse_loss(model(corrupt(x)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            val = nn.functional.mse_loss(model(corrupt(test)), test).item()
        print(f"epoch {epoch}: train mse {loss.item():.4f}, test mse {val:.4f}")


if __name__ == "__main__":
    main()
