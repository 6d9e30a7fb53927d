"""Knowledge distillation: the teacher is trained, then set to evaluation mode; the student learns from its soft answers."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


class ConvNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.features = nn.Sequential(*self.block(1, width), *self.block(width, 2 * width))
        self.head = nn.Linear(2 * width * 4, 10)

    @staticmethod
    def block(i, o):
        return nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True), nn.MaxPool2d(2)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


class DistillLoss:
    def __init__(self, teacher, t=4.0, alpha=0.7):
        self.teacher, self.t, self.alpha = teacher.eval().requires_grad_(False), t, alpha

    def __call__(self, student_logits, x, y):
        with torch.no_grad():
            soft = self.teacher(x)
        kd = F.kl_div(F.log_softmax(student_logits / self.t, 1), F.softmax(soft / self.t, 1), reduction="batchmean") * self.t**2
        return self.alpha * kd + (1 - self.alpha) * F.cross_entropy(student_logits, y)


def train(model, loader, loss_fn, epochs, lr):
    opt = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(epochs):
        model.train()
        for x, y in loader:
            opt.zero_grad()
            loss_fn(model(x), x, y).backward()
            opt.step()
    return model


def accuracy(model, loader):
    model.eval()
    hits = total = 0
    with torch.no_grad():
        for x, y in loader:
            hits += (model(x).argmax(1) == y).sum().item()
            total += len(y)
    return hits / total


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    data = train_test_split(torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target), test_size=0.3, random_state=1)
    train_loader = DataLoader(TensorDataset(data[0], data[2]), batch_size=64, shuffle=True, drop_last=True)
    test_loader = DataLoader(TensorDataset(data[1], data[3]), batch_size=256)
    teacher = train(ConvNet(24), train_loader, lambda out, x, y: F.cross_entropy(out, y), 5, 3e-3)
    print(f"teacher {accuracy(teacher, test_loader):.4f}")
    student = train(ConvNet(4), train_loader, DistillLoss(teacher), 8, 5e-3)
    print(f"student {accuracy(student, test_loader):.4f}")


if __name__ == "__main__":
    main()
