"""Two modalities, one network: a vibration spectrum and a handful of temperatures for each machine."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Machines(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.state = torch.randint(0, 4, (n,), generator=g)
        tone = torch.eye(4)[self.state].repeat_interleave(8, 1)
        self.records = []
        for i in range(n):
            loud = tone[i] * (self.state[i] < 2) + torch.rand(32, generator=g)
            warm = self.state[i] + 0.4 * torch.randn(6, generator=g)
            self.records.append({"spectrum": loud, "temperature": warm})

    def __len__(self):
        return len(self.state)

    def __getitem__(self, i):
        record = self.records[i]
        missing = torch.zeros(6)  # machines without thermometers
        return record["spectrum"], record.get("temperature", missing), self.state[i]


def branch(inputs, width):
    return nn.Sequential(
        nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()
    )


class Fusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.vibration, self.heat = branch(32, 24), branch(6, 12)
        self.classifier = nn.Linear(36, 4)

    def forward(self, spectrum, temperature):
        return self.classifier(torch.cat([self.vibration(spectrum), self.heat(temperature)], 1))


def main():
    torch.manual_seed(8)
    torch.set_num_threads(1)
    train = DataLoader(Machines(1200, 0), batch_size=40, shuffle=True)
    test = DataLoader(Machines(400, 1), batch_size=200)
    net = Fusion()
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-3)
    for epoch in range(8):
        net.train()
        for spectrum, temperature, state in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(spectrum, temperature), state).backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        hits = [(net(a, b).argmax(1) == s).float() for a, b, s in test]
    print(f"accuracy {torch.cat(hits).mean():.3f}")


if __name__ == "__main__":
    main()
