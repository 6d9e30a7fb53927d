"""Sequence-to-sequence: convolutional encoder with batch norm, decoder whose prenet drops out in inference too, as designed."""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
SYMBOLS, BANDS, LENGTH = 12, 10, 16
codebook = torch.randn(SYMBOLS, BANDS)


def utterances(n):
    text = torch.randint(SYMBOLS, (n, LENGTH))
    left = F.pad(text, (1, 0))[:, :-1]
    frames = codebook[text] + 0.4 * codebook[left].roll(1, 2) + 0.05 * torch.randn(n, LENGTH, BANDS)
    return text, frames


class Prenet(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.a, self.b = nn.Linear(i, o), nn.Linear(o, o)

    def forward(self, x):
        x = F.dropout(F.relu(self.a(x)), 0.5, training=True)
        return F.dropout(F.relu(self.b(x)), 0.5, training=True)


class Synthesizer(nn.Module):
    def __init__(self, c=48):
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS, c)
        self.convs = nn.ModuleList(nn.Sequential(nn.Conv1d(c, c, 5, padding=2), nn.BatchNorm1d(c), nn.ReLU(), nn.Dropout(0.1)) for _ in range(2))
        self.prenet = Prenet(BANDS, 24)
        self.rnn = nn.GRUCell(24 + c, 64)
        self.out = nn.Linear(64 + c, BANDS)

    def forward(self, text, frames=None):
        x = self.embed(text).transpose(1, 2)
        for conv in self.convs:
            x = conv(x)
        x = x.transpose(1, 2)
        last, h, result = x.new_zeros(len(x), BANDS), x.new_zeros(len(x), 64), []
        for t in range(LENGTH):
            h = self.rnn(torch.cat([self.prenet(last), x[:, t]], 1), h)
            y = self.out(torch.cat([h, x[:, t]], 1))
            result.append(y)
            last = y if frames is None else frames[:, t]
        return torch.stack(result, 1)


train_text, train_frames = utterances(800)
test_text, test_frames = utterances(200)
net = Synthesizer()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(7):
    net.train()
    for idx in torch.randperm(800).split(32):
        loss = F.mse_loss(net(train_text[idx], train_frames[idx]), train_frames[idx])
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
    net.eval()
    with torch.no_grad():
        free = F.mse_loss(net(test_text), test_frames).item()
    print(f"epoch {epoch} teacher-forced mse {loss.item():.4f} free-running mse {free:.4f} (variance {test_frames.var().item():.2f})")
