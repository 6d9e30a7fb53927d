"""Sequences of tones, read by a 1-D convolutional net with batch norm and a CTC loss; lengths differ, batches are sorted into buckets."""

import torch
from torch import nn

TONES, RATE = 5, 16  # symbols without blank; samples for each symbol


def utterance(generator):
    n = int(torch.randint(3, 7, (), generator=generator))
    symbols = torch.randint(1, TONES + 1, (n,), generator=generator)
    t = torch.arange(RATE) / RATE
    wave = torch.cat([torch.sin(6.28 * (s + 1) * t) for s in symbols])
    return wave + 0.2 * torch.randn(len(wave), generator=generator), symbols


class Recognizer(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(1, width, 9, stride=4, padding=4, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
        )
        self.out = nn.Conv1d(width, TONES + 1, 1)

    def forward(self, x):
        return self.out(self.front(x)).log_softmax(1).permute(2, 0, 1)


def buckets(items, size):
    by_length = {}
    for wave, symbols in items:
        by_length.setdefault(len(wave), []).append((wave, symbols))
    for same in by_length.values():
        order = torch.randperm(len(same)).tolist()
        for k in range(0, len(order) - size + 1, size):
            part = [same[i] for i in order[k : k + size]]
            yield torch.stack([w for w, _ in part])[:, None], [s for _, s in part]


def decode(scores):
    best = scores.argmax(2).T
    return [[int(s) for s in torch.unique_consecutive(row) if s] for row in best]


torch.manual_seed(0)
torch.set_num_threads(1)
g = torch.Generator().manual_seed(1)
items = [utterance(g) for _ in range(800)]
net, ctc = Recognizer(), nn.CTCLoss(zero_infinity=True)
optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
for epoch in range(6):
    net.train()
    batches = list(buckets(items[:700], 20))
    for k in torch.randperm(len(batches)).tolist():
        x, symbols = batches[k]
        scores = net(x)
        lengths = torch.full((len(x),), scores.shape[0])
        loss = ctc(scores, torch.cat(symbols), lengths, torch.tensor([len(s) for s in symbols]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
    net.eval()
    with torch.no_grad():
        right = sum(decode(net(w[None, None]))[0] == torch.unique_consecutive(s).tolist() for w, s in items[700:])
    print(f"epoch {epoch}: loss {loss.item():.3f}, sequences right {right}/100")
