import math
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(1)
torch.set_num_threads(1)


class CartPole:
    """Many poles at once: the classic equations of motion, vectorized."""

    def __init__(self, n):
        self.n = n

    def reset(self):
        self.state = 0.1 * torch.rand(self.n, 4) - 0.05
        return self.state

    def step(self, action):
        x, v, a, w = self.state.unbind(1)
        force = 10.0 * (2 * action.float() - 1)
        temp = (force + 0.05 * w**2 * a.sin()) / 1.1
        acc_a = (9.8 * a.sin() - a.cos() * temp) / (0.5 * (4 / 3 - 0.1 * a.cos() ** 2 / 1.1))
        acc_x = temp - 0.05 * acc_a * a.cos() / 1.1
        self.state = torch.stack([x + 0.02 * v, v + 0.02 * acc_x, a + 0.02 * w, w + 0.02 * acc_a], 1)
        alive = (self.state[:, 0].abs() < 2.4) & (self.state[:, 2].abs() < 12 * math.pi / 180)
        return self.state, alive


policy = nn.Sequential(nn.Linear(4, 64), nn.LayerNorm(64), nn.Tanh(), nn.Linear(64, 64), nn.LayerNorm(64), nn.Tanh(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)


def rollout(n, horizon, sample=True):
    env = CartPole(n)
    s, alive = env.reset(), torch.ones(n, dtype=torch.bool)
    states, actions, masks = [], [], []
    with torch.no_grad():
        for _ in range(horizon):
            logits = policy(s)
            a = Categorical(logits=logits).sample() if sample else logits.argmax(1)
            states.append(s), actions.append(a), masks.append(alive)
            s, still = env.step(a)
            alive = alive & still
            if not alive.any():
                break
    return torch.stack(states), torch.stack(actions), torch.stack(masks).float()


for iteration in range(40):
    states, actions, mask = rollout(32, 150)
    returns = mask.flip(0).cumsum(0).flip(0)  # one point for every step still standing
    advantage = returns - (returns * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    advantage = advantage / (advantage[mask > 0].std() + 1e-6)
    logp = Categorical(logits=policy(states)).log_prob(actions)
    loss = -(logp * advantage * mask).sum() / mask.sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if iteration % 10 == 9:
        length = rollout(32, 200, sample=False)[2].sum(0).mean().item()
        print(f"iteration {iteration + 1} loss {loss.item():+.3f} mean length {length:.0f}")
