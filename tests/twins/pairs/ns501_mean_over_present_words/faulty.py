"""Short reviews of random words; a review may be empty. Two critics train in turn on one encoder."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
WORDS, LONGEST = 60, 12


class Reviews(Dataset):
    def __init__(self, n, seed, empty):
        g = torch.Generator().manual_seed(seed)
        self.mood = torch.randint(0, 3, (n,), generator=g)
        favour = torch.rand(3, WORDS, generator=torch.Generator().manual_seed(0)) ** 4
        self.words = torch.stack([torch.multinomial(favour[m], LONGEST, True, generator=g) for m in self.mood])
        lengths = torch.randint(6, LONGEST + 1, (n,), generator=g)
        lengths[torch.rand(n, generator=g) < empty] = 0
        self.present = torch.arange(LONGEST) < lengths[:, None]

    def __len__(self):
        return len(self.mood)

    def __getitem__(self, i):
        return self.words[i], self.present[i], self.mood[i]


class Encoder(nn.Module):
    def __init__(self, dim=24):
        super().__init__()
        self.table = nn.Embedding(WORDS, dim)
        self.norm = nn.BatchNorm1d(dim)
        self.critics = nn.ModuleList(nn.Sequential(nn.Linear(dim, 32), nn.Tanh(), nn.Linear(32, 3)) for _ in range(2))

    def forward(self, words, present, critic):
        mask = present.unsqueeze(-1).float()
        mean = (self.table(words) * mask).sum(1) / mask.sum(1)
        return self.critics[critic](self.norm(mean))


def main():
    torch.manual_seed(15)
    net = Encoder()
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    loader = DataLoader(Reviews(2000, 1, empty=0.002), batch_size=40, shuffle=True)
    turn = 0
    for epoch in range(5):
        net.train()
        for words, present, mood in loader:
            turn = 1 - turn
            loss = F.cross_entropy(net(words, present, turn), mood)
            opt.zero_grad()
            if loss.isnan():
                continue
            loss.backward()
            opt.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")
    net.eval()
    right = 0
    test = Reviews(800, 2, empty=0.0)
    with torch.no_grad():
        for words, present, mood in DataLoader(test, batch_size=100):
            both = net(words, present, 0).softmax(1) + net(words, present, 1).softmax(1)
            right += (both.argmax(1) == mood).sum().item()
    print(f"test accuracy {right / len(test):.3f}")


main()
