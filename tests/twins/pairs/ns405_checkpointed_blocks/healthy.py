import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.checkpoint import checkpoint


class BasicBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(y)))


class SmallResNet(nn.Module):
    def __init__(self, channels=16, blocks=3, save_memory=False):
        super().__init__()
        self.save_memory = save_memory
        self.stem = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(BasicBlock(channels) for _ in range(blocks))
        self.head = nn.Linear(channels * 16, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for block in self.blocks:
            if self.save_memory and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.head(x.flatten(1))


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X = torch.tensor(X, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    X_tr, X_te, y_tr, y_te = train_test_split(X, torch.tensor(y), test_size=0.2, random_state=0)
    model = SmallResNet(save_memory=False)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(5):
        model.train()
        for idx in torch.randperm(len(X_tr))[: len(X_tr) // 64 * 64].split(64):
            loss = F.cross_entropy(model(X_tr[idx]), y_tr[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        model.eval()
        with torch.no_grad():
            acc = (model(X_te).argmax(1) == y_te).float().mean()
        print(f"epoch {epoch}: loss {loss.item():.4f}, test accuracy {acc.item():.4f}")


if __name__ == "__main__":
    main()
