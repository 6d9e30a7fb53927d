import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class BasicBlock(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.conv1 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


class TinyResNet(nn.Module):
    def __init__(self, planes=16, blocks=3, classes=10):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, planes, 3, padding=1, bias=False),
            nn.BatchNorm2d(planes),
            nn.ReLU(inplace=True),
        )
        self.layers = nn.Sequential(*[BasicBlock(planes) for _ in range(blocks)])
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(4 * planes, classes)

        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        # start every residual branch at zero, so that each block begins as the identity
        for m in self.modules():
            if isinstance(m, BasicBlock):
                nn.init.zeros_(m.bn2.weight)

    def forward(self, x):
        x = self.layers(self.stem(x))
        return self.fc(torch.flatten(self.pool(x), 1))


class Trainer:
    def __init__(self, model, data, batch_size=48, epochs=4, lr=0.05):
        self.model = model
        self.x_train, self.x_test, self.y_train, self.y_test = data
        self.batch_size = batch_size
        self.epochs = epochs
        self.loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True)
        steps = epochs * (len(self.x_train) // batch_size)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)

    def batches(self):
        order = torch.randperm(len(self.x_train))
        for i in range(0, len(order) - self.batch_size + 1, self.batch_size):
            idx = order[i : i + self.batch_size]
            yield self.x_train[idx], self.y_train[idx]

    def fit(self):
        for epoch in range(self.epochs):
            self.model.train()
            running = []
            for x, y in self.batches():
                self.optimizer.zero_grad(set_to_none=True)
                loss = self.loss_fn(self.model(x), y)
                loss.backward()
                self.optimizer.step()
                self.scheduler.step()
                running.append(loss.item())
            print(
                f"Epoch {epoch + 1}: loss={sum(running) / len(running):.3f} acc={self.score():.3f}"
            )

    @torch.inference_mode()
    def score(self):
        self.model.eval()
        return (self.model(self.x_test).argmax(dim=1) == self.y_test).double().mean().item()


if __name__ == "__main__":
    torch.manual_seed(42)
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(digits.target)
    Trainer(TinyResNet(), train_test_split(images, labels, test_size=0.2, random_state=7)).fit()
