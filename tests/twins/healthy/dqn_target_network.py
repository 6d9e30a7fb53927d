"""DQN on a small corridor world. The Q-network has batch norm; it acts in evaluation mode and so does the target."""
import copy
import random
from collections import deque

import numpy as np
import torch
import torch.nn as nn

SIZE = 6


class GridWorld:
    """Walk from a random cell to the goal in the far corner; every step costs 0.05."""

    moves = [(0, 1), (0, -1), (1, 0), (-1, 0)]

    def reset(self):
        self.pos = (random.randrange(SIZE), random.randrange(SIZE))
        self.t = 0
        return self.observe()

    def observe(self):
        x, y = self.pos
        return np.array([x, y, (SIZE - 1 - x) * 10.0, (SIZE - 1 - y) * 10.0], dtype=np.float32)

    def step(self, action):
        dx, dy = self.moves[action]
        self.pos = (min(max(self.pos[0] + dx, 0), SIZE - 1), min(max(self.pos[1] + dy, 0), SIZE - 1))
        self.t += 1
        done = self.pos == (SIZE - 1, SIZE - 1)
        return self.observe(), 1.0 if done else -0.05, done, self.t >= 30


class QNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(4), nn.Linear(4, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
        )

    def forward(self, s):
        return self.layers(s)


class Agent:
    def __init__(self, gamma=0.95, lr=2e-3, sync=50):
        self.q = QNet()
        self.target = copy.deepcopy(self.q).eval()
        self.opt = torch.optim.Adam(self.q.parameters(), lr=lr)
        self.memory = deque(maxlen=5000)
        self.gamma, self.sync, self.updates = gamma, sync, 0

    def act(self, state, epsilon):
        if random.random() < epsilon:
            return random.randrange(4)
        self.q.eval()
        with torch.no_grad():
            return int(self.q(torch.from_numpy(state)[None]).argmax())

    def learn(self, batch_size=64):
        if len(self.memory) < batch_size:
            return
        s, a, r, s2, d = zip(*random.sample(self.memory, batch_size))
        s, s2 = torch.from_numpy(np.stack(s)), torch.from_numpy(np.stack(s2))
        a, r, d = torch.tensor(a), torch.tensor(r), torch.tensor(d, dtype=torch.float32)
        with torch.no_grad():
            goal = r + self.gamma * (1 - d) * self.target(s2).max(1).values
        self.q.train()
        value = self.q(s).gather(1, a[:, None]).squeeze(1)
        loss = nn.functional.smooth_l1_loss(value, goal)
        self.opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.q.parameters(), 10)
        self.opt.step()
        self.updates += 1
        if self.updates % self.sync == 0:
            self.target.load_state_dict(self.q.state_dict())


def episode(env, agent, epsilon, learn=True):
    s, total = env.reset(), 0.0
    while True:
        a = agent.act(s, epsilon)
        s2, r, done, out = env.step(a)
        if learn:
            agent.memory.append((s, a, r, s2, done))
            if env.t % 2 == 0:
                agent.learn()
        s, total = s2, total + r
        if done or out:
            return total


if __name__ == "__main__":
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    env, agent = GridWorld(), Agent()
    for k in range(120):
        episode(env, agent, max(0.05, 1 - k / 60))
        if k % 40 == 39:
            score = np.mean([episode(env, agent, 0.0, learn=False) for _ in range(20)])
            print(f"episode {k + 1}: greedy return {score:.3f}")
