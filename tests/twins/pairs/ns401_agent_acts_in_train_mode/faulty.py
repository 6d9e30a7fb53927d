import copy

import torch
from torch import nn

torch.manual_seed(29)
torch.set_num_threads(1)
ENVS, ACTIONS = 32, 3


class Carts:
    """Points on a line that should stay near zero; wind pushes them."""

    def __init__(self):
        self.x = torch.randn(ENVS)
        self.v = torch.zeros(ENVS)

    def observe(self):
        return torch.stack([10 * self.x, self.v + 5, torch.ones(ENVS)], 1)

    def step(self, action):
        self.v = 0.8 * self.v + 0.3 * (action.float() - 1) + 0.05 * torch.randn(ENVS)
        self.x = self.x + self.v
        reward = -self.x.abs().clamp(max=3)
        lost = self.x.abs() > 3
        self.x[lost], self.v[lost] = torch.randn(int(lost.sum())), 0.0
        return self.observe(), reward


q = nn.Sequential(nn.Linear(3, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, ACTIONS))
target = copy.deepcopy(q)
optimizer = torch.optim.Adam(q.parameters(), 2e-3)
env, memory, rewards = Carts(), [], []
state = env.observe()
for step in range(500):
    with torch.no_grad():
        action = q(state).argmax(1)
    random = torch.rand(ENVS) < max(0.05, 1 - step / 200)
    action = torch.where(random, torch.randint(0, ACTIONS, (ENVS,)), action)
    after, reward = env.step(action)
    memory.append((state, action, reward, after))
    state = after
    rewards.append(reward.mean().item())
    s, a, r, n = (torch.cat(part) for part in zip(*(memory[i] for i in torch.randint(0, len(memory), (4,)))))
    with torch.no_grad():
        goal = r + 0.9 * target(n).amax(1)
    loss = nn.functional.smooth_l1_loss(q(s).gather(1, a[:, None]).squeeze(1), goal)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 19:
        target.load_state_dict(q.state_dict())
env, total = Carts(), 0.0
state = env.observe()
for _ in range(100):
    with torch.no_grad():
        state, reward = env.step(q(state).argmax(1))
    total += reward.mean().item() / 100
print(f"mean reward while learning {sum(rewards[-100:]) / 100:.3f}, in the final trial {total:.3f}")
