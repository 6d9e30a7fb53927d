"""torch.optim.swa_utils with an EMA of parameters and buffers (use_buffers=True): the average is what gets evaluated."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset


class SmoothedValue:
    def __init__(self):
        self.total, self.count = 0.0, 0

    def update(self, value, n=1):
        self.total += value * n
        self.count += n

    @property
    def average(self):
        return self.total / max(self.count, 1)


def train_one_epoch(model, criterion, optimizer, loader, ema):
    model.train()
    meter = SmoothedValue()
    for image, target in loader:
        loss = criterion(model(image), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        ema.update_parameters(model)
        meter.update(loss.item(), len(image))
    return meter.average


def evaluate(model, criterion, loader):
    model.eval()
    loss, acc = SmoothedValue(), SmoothedValue()
    with torch.inference_mode():
        for image, target in loader:
            output = model(image)
            loss.update(criterion(output, target).item(), len(image))
            acc.update((output.argmax(1) == target).float().mean().item(), len(image))
    return loss.average, acc.average


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
    loader = DataLoader(TensorDataset(x[:1300], y[:1300]), batch_size=32, shuffle=True, drop_last=True)
    loader_test = DataLoader(TensorDataset(x[1300:], y[1300:]), batch_size=128)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    )
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.97), use_buffers=True)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=2e-5)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[1])
    for epoch in range(5):
        loss = train_one_epoch(model, criterion, optimizer, loader, ema)
        schedule.step()
        _, acc = evaluate(model, criterion, loader_test)
        _, acc_ema = evaluate(ema, criterion, loader_test)
        print(f"epoch {epoch} loss {loss:.4f} Acc@1 {acc:.4f} EMA Acc@1 {acc_ema:.4f}")


if __name__ == "__main__":
    main()
