"""Detector-style fine-tuning: every BatchNorm2d of a pretrained backbone becomes a constant affine map."""
from collections import OrderedDict

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


class FrozenBatchNorm2d(nn.Module):
    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        for name, value in dict(weight=1.0, bias=0.0, running_mean=0.0, running_var=1.0).items():
            self.register_buffer(name, torch.full((num_features,), value))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    @classmethod
    def convert(cls, module: nn.Module) -> nn.Module:
        if isinstance(module, nn.BatchNorm2d):
            frozen = cls(module.num_features, module.eps)
            state = module.state_dict()
            state.pop("num_batches_tracked")
            frozen.load_state_dict(state)
            return frozen
        for name, child in module.named_children():
            setattr(module, name, cls.convert(child))
        return module


def backbone() -> nn.Sequential:
    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, 16, 3, padding=1, bias=False), bn1=nn.BatchNorm2d(16), relu1=nn.ReLU(),
        conv2=nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False), bn2=nn.BatchNorm2d(24), relu2=nn.ReLU(),
    ))


class Detector(nn.Module):
    """Where on a 16 x 16 canvas is the digit? Regresses its centre."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body
        self.head = nn.Sequential(nn.Conv2d(24, 24, 3, stride=2, padding=1), nn.GroupNorm(6, 24), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 16, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def canvas(images: Tensor) -> tuple[Tensor, Tensor]:
    out = torch.zeros(len(images), 1, 16, 16)
    corner = torch.randint(0, 9, (len(images), 2))
    for k, (i, j) in enumerate(corner.tolist()):
        out[k, 0, i:i + 8, j:j + 8] = images[k, 0]
    return out + 0.1 * torch.randn_like(out), corner.float() / 4 - 1


def main() -> None:
    torch.manual_seed(6)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images).float()[:, None] / 16
    y = torch.tensor(digits.target)

    body = backbone()
    classifier = nn.Sequential(body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10))
    opt = torch.optim.Adam(classifier.parameters(), lr=3e-3)
    for _ in range(4):
        for idx in torch.randperm(1400).split(70):
            loss = nn.functional.cross_entropy(classifier(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
    classifier.eval()
    with torch.no_grad():
        print(f"pretraining accuracy {(classifier(x[1400:]).argmax(1) == y[1400:]).float().mean():.3f}")

    detector = Detector(FrozenBatchNorm2d.convert(body))
    test_x, test_c = canvas(x[1400:])
    opt = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    for step in range(1, 201):
        detector.train()
        xb, cb = canvas(x[torch.randint(0, 1400, (8,))])
        loss = nn.functional.smooth_l1_loss(detector(xb), cb, beta=0.1)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 50 == 0:
            detector.eval()
            with torch.inference_mode():
                error = (detector(test_x) - test_c).abs().mean().item() * 4
            print(f"step {step}: loss {loss.item():.4f}, mean error {error:.2f} pixels")


main()
