# When did three sensors jump? An LSTM with normalized gates; the training loop is a small engine.
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class NormLSTM(nn.Module):
    def __init__(self, inputs, hidden, norm):
        super().__init__()
        self.hidden = hidden
        self.w_x = nn.Parameter(torch.randn(3 * hidden, inputs) * inputs**-0.5)
        self.w_h = nn.Parameter(torch.randn(3 * hidden, hidden) * hidden**-0.5)
        self.bias = nn.Parameter(torch.zeros(3 * hidden))
        self.norm_x = nn.BatchNorm1d(3 * hidden)
        self.norm_h = norm(3 * hidden)
        self.norm_c = norm(hidden)

    def forward(self, sequence):
        h = c = sequence.new_zeros(sequence.size(0), self.hidden)
        reads = self.norm_x(F.linear(sequence, self.w_x).flatten(0, 1)).unflatten(0, sequence.shape[:2])
        for x in reads.unbind(1):
            gates = x + self.norm_h(F.linear(h, self.w_h)) + self.bias
            i, g, o = gates.chunk(3, 1)
            c = c + torch.sigmoid(i) * torch.tanh(g)  # without a forget gate, as in 1997
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c))
        return h


class Classifier(nn.Module):
    def __init__(self, hidden=24, norm=nn.LayerNorm):
        super().__init__()
        self.lstm = NormLSTM(3, hidden, norm)
        self.linear = nn.Linear(hidden, 4)

    def forward(self, sequence):
        return self.linear(self.lstm(sequence))


def drifts(n, steps=24):
    """One jump to another level, in one of four quarters; the level stays."""
    kind = torch.randint(4, (n,))
    begin = kind * steps // 4 + torch.randint(1, steps // 4, (n,))
    level = 2 * torch.randn(n, 1, 3).sign() * (0.5 + torch.rand(n, 1, 1))
    after = torch.arange(steps)[None, :, None] >= begin[:, None, None]
    return TensorDataset(after * level + 0.3 * torch.randn(n, steps, 3), kind)


class Engine:
    def __init__(self, model, rate):
        self.model, self.optimizer = model, torch.optim.RMSprop(model.parameters(), rate)

    def train(self, loader):
        self.model.train()
        for x, y in loader:
            loss = F.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(self.model.parameters(), 1.0)
            self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def test(self, loader):
        self.model.eval()
        right = [self.model(x).argmax(1) == y for x, y in loader]
        return torch.cat(right).float().mean().item()


torch.manual_seed(11)
torch.set_num_threads(1)
training, testing = DataLoader(drifts(1024), 32, shuffle=True), DataLoader(drifts(512), 128)
engine = Engine(Classifier(norm=nn.BatchNorm1d), 3e-3)
for epoch in range(5):
    loss = engine.train(training)
    print(f"{epoch}: loss {loss:.3f} accuracy {engine.test(testing):.3f}")
