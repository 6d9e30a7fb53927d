# A neural ODE: the features flow along a learned vector field, integrated with Heun's method.
import math
from typing import Callable

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

State = Tensor
Field = Callable[[Tensor, State], State]


def heun(f: Field, state: State, t0: float, t1: float, steps: int) -> State:
    h = (t1 - t0) / steps
    for k in range(steps):
        t = state.new_tensor(t0 + k * h)
        slope = f(t, state)
        ahead = f(t + h, state + h * slope)
        state = state + 0.5 * h * (slope + ahead)
    return state


class VectorField(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.inward = nn.Linear(dim + 1, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.outward = nn.Linear(hidden, dim)

    def forward(self, t: Tensor, state: State) -> State:
        time = t.expand(state.shape[0], 1)
        return self.outward(torch.relu(self.norm(self.inward(torch.cat([state, time], dim=1)))))


class ODEClassifier(nn.Module):
    def __init__(self, dim: int = 24, span: float = 3.0, steps: int = 6) -> None:
        super().__init__()
        self.lift = nn.Linear(64, dim)
        self.field = VectorField(dim, 48)
        self.readout = nn.Linear(dim, 10)
        self.span, self.steps = span, steps

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(heun(self.field, self.lift(x), 0.0, self.span, self.steps))


def cosine(step: int, total: int, peak: float) -> float:
    return 0.5 * peak * (1 + math.cos(math.pi * step / total))


def main(total: int = 250) -> None:
    torch.manual_seed(5)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = (torch.as_tensor(a) for a in train_test_split(x, y, test_size=0.3, random_state=5))
    x_train, x_test = x_train.float() / 16, x_test.float() / 16
    model = ODEClassifier()
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(total):
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, total, 1e-2)
        batch = torch.randint(len(x_train), (64,))
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x_train[batch]), y_train[batch]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        print(f"test accuracy {(model(x_test).argmax(1) == y_test).double().mean():.3f}")


main()
