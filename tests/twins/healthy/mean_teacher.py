"""Mean teacher: consistency on unlabelled digits; the teacher averages weights and copies buffers."""
import copy

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


class MeanTeacher:
    def __init__(self, student, decay=0.95):
        self.student, self.decay = student, decay
        self.teacher = copy.deepcopy(student).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self):
        for t, s in zip(self.teacher.parameters(), self.student.parameters()):
            t.lerp_(s, 1 - self.decay)
        for t, s in zip(self.teacher.buffers(), self.student.buffers()):
            t.copy_(s)


def augment(x):
    return x + 0.15 * torch.randn_like(x)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X_tr, X_te, y_tr, y_te = train_test_split(X / 16, y, test_size=0.25, random_state=0)
    X_tr, X_te = torch.tensor(X_tr).float(), torch.tensor(X_te).float()
    y_tr, y_te = torch.tensor(y_tr), torch.tensor(y_te)
    labelled = torch.arange(400)
    student = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 10))
    ema = MeanTeacher(student)
    opt = torch.optim.Adam(student.parameters(), lr=1e-3)
    for step in range(1, 401):
        student.train()
        lab = labelled[torch.randint(0, 400, (32,))]
        unl = torch.randint(0, len(X_tr), (64,))
        both = torch.cat([augment(X_tr[lab]), augment(X_tr[unl])])
        out = student(both)
        with torch.no_grad():
            target = F.softmax(ema.teacher(augment(X_tr[unl])), dim=1)
        loss = F.cross_entropy(out[:32], y_tr[lab]) + 2.0 * F.mse_loss(F.softmax(out[32:], dim=1), target)
        opt.zero_grad()
        loss.backward()
        opt.step()
        ema.update()
        if step % 100 == 0:
            student.eval()
            with torch.no_grad():
                s = (student(X_te).argmax(1) == y_te).float().mean()
                t = (ema.teacher(X_te).argmax(1) == y_te).float().mean()
            print(f"step {step} loss {loss.item():.3f} student {s:.4f} teacher {t:.4f}")


if __name__ == "__main__":
    main()
