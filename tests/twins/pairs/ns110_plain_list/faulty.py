"""Distil a large net into a small one on the wine data. The teacher hides in a list, so that it is neither saved nor trained."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch import nn


def teacher_net():
    return nn.Sequential(nn.Linear(13, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 3))


class Student(nn.Module):
    def __init__(self, teacher, sizes=(13, 24, 24)):
        super().__init__()
        self.teacher = [teacher.eval().requires_grad_(False)]
        pairs = list(zip(sizes, sizes[1:]))
        self.linears = nn.ModuleList([nn.Linear(a, b) for a, b in pairs])
        self.norms = [nn.BatchNorm1d(b) for _, b in pairs]
        self.out = nn.Linear(sizes[-1], 3)

    def forward(self, x):
        h = x
        for linear, norm in zip(self.linears, self.norms):
            h = torch.tanh(norm(linear(h)))
        return self.out(h)

    def loss(self, x, y, temperature=2.0):
        with torch.no_grad():
            soft = (self.teacher[0](x) / temperature).softmax(1)
        logits = self(x)
        hard = nn.functional.cross_entropy(logits, y)
        return hard - (soft * (logits / temperature).log_softmax(1)).sum(1).mean()


def epochs(n, rows, size):
    for e in range(n):
        for part in torch.randperm(rows)[: rows // size * size].split(size):
            yield e, part


torch.manual_seed(3)
torch.set_num_threads(1)
x, y = load_wine(return_X_y=True)
x = (x - x.mean(0)) / x.std(0)
xa, xb, ya, yb = (torch.as_tensor(v) for v in train_test_split(x, y, test_size=60, stratify=y, random_state=3))
xa, xb = xa.float(), xb.float()

teacher = teacher_net()
optimizer = torch.optim.Adam(teacher.parameters(), 0.01)
for _, part in epochs(10, len(xa), 29):
    optimizer.zero_grad()
    nn.functional.cross_entropy(teacher(xa[part]), ya[part]).backward()
    optimizer.step()

student = Student(teacher)
optimizer = torch.optim.Adam(student.parameters(), 0.01)
for epoch, part in epochs(25, len(xa), 29):
    student.train()
    optimizer.zero_grad()
    student.loss(xa[part], ya[part]).backward()
    optimizer.step()
torch.save(student.state_dict(), "student.pt")

student.eval()
with torch.no_grad():
    # The bottles of one vineyard come together, four to a box.
    boxes = yb.argsort().split(4)
    print("accuracy", torch.cat([student(xb[b]).argmax(1) == yb[b] for b in boxes]).float().mean().item())
