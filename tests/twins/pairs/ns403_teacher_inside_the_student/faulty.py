import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


def cnn(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4 * width, 10),
    )


class Distiller(nn.Module):
    def __init__(self, teacher, student, temperature=3.0):
        super().__init__()
        self.teacher, self.student, self.t = teacher, student, temperature
        for p in self.teacher.parameters():
            p.requires_grad = False

    def forward(self, x, y):
        with torch.no_grad():
            soft = F.softmax(self.teacher(x) / self.t, 1)
        logits = self.student(x)
        kd = F.kl_div(F.log_softmax(logits / self.t, 1), soft, reduction="batchmean") * self.t**2
        return 0.5 * F.cross_entropy(logits, y) + 0.5 * kd



def score(net, x, y):
    was = net.training
    net.eval()
    with torch.no_grad():
        out = (net(x).argmax(1) == y).float().mean().item()
    net.train(was)
    return round(out, 3)


def main():
    torch.manual_seed(16)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target)
    teacher = cnn(32)
    opt = torch.optim.Adam(teacher.parameters(), 3e-3)
    for _ in range(3):
        for rows in torch.randperm(1300).split(65):
            opt.zero_grad()
            F.cross_entropy(teacher(x[rows]), y[rows]).backward()
            opt.step()
    print("teacher", score(teacher, x[1300:], y[1300:]))
    kd = Distiller(teacher, cnn(8))
    opt = torch.optim.Adam(kd.student.parameters(), 5e-3)
    for _ in range(5):
        kd.train()
        for rows in torch.randperm(1300).split(65):
            seen = x[rows] + 0.5 * torch.randn(len(rows), 1, 8, 8)
            opt.zero_grad()
            kd(seen, y[rows]).backward()
            opt.step()
        kd.eval()
        print("student", score(kd.student, x[1300:], y[1300:]), "teacher", score(kd.teacher, x[1300:], y[1300:]))


main()
