"""Which of four topics a text is about; texts of 4 to 60 words, padded to the longest of their batch."""

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

WORDS, TOPICS = 120, 4
PAD = 0


def texts(n, g):
    """Mostly common words, and some of the topic's own 20."""
    found = []
    for _ in range(n):
        topic = int(torch.randint(TOPICS, (), generator=g))
        length = int(4 * 15 ** torch.rand((), generator=g))
        common = torch.randint(81, WORDS + 1, (length,), generator=g)
        own = torch.randint(1 + 20 * topic, 21 + 20 * topic, (length,), generator=g)
        pick = torch.rand(length, generator=g) < 0.2
        found.append((torch.where(pick, own, common), topic))
    return found


class TextNet(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.embed = nn.Embedding(WORDS + 1, width, padding_idx=PAD)
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, TOPICS)

    def forward(self, tokens):
        real = (tokens != PAD)[:, None]
        h = self.conv(self.embed(tokens).transpose(1, 2))
        h = self.normalize(h, real).relu() * real
        return self.out(h.sum(2) / real.sum(2))

    def normalize(self, h, real):
        return self.norm(h)


def collate(samples):
    return pad_sequence([t for t, _ in samples], batch_first=True), torch.tensor([k for _, k in samples])


def main():
    torch.manual_seed(12)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(12)
    train, test = texts(1600, g), texts(300, g)
    net = TextNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(6):
        net.train()
        order = torch.randperm(len(train)).tolist()
        for start in range(0, len(order), 32):
            tokens, topics = collate([train[i] for i in order[start : start + 32]])
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(tokens), topics).backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        hits = sum(int(net(t[None]).argmax(1)) == k for t, k in test)
    print(f"accuracy {hits / len(test):.3f}")


if __name__ == "__main__":
    main()
