"""DDPG with batch norm in the actor, soft target updates of parameters and buffers, acting in evaluation mode."""
import copy
import random
from collections import deque

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Pendulum:
    def reset(self):
        self.th, self.w, self.t = random.uniform(-1.0, 1.0), random.uniform(-0.5, 0.5), 0
        return self.obs()

    def obs(self):
        return np.array([np.cos(self.th), np.sin(self.th), self.w], dtype=np.float32)

    def step(self, u):
        u = float(np.clip(u, -1, 1)) * 4
        cost = self.th**2 + 0.1 * self.w**2 + 0.001 * u**2
        self.w = float(np.clip(self.w + (7.5 * np.sin(self.th) + 3 * u) * 0.05, -8, 8))
        self.th = float((self.th + self.w * 0.05 + np.pi) % (2 * np.pi) - np.pi)
        self.t += 1
        return self.obs(), -cost, self.t >= 60


class Actor(nn.Module):
    def __init__(self, h=48):
        super().__init__()
        self.bn0, self.fc1, self.bn1 = nn.BatchNorm1d(3), nn.Linear(3, h), nn.BatchNorm1d(h)
        self.fc2, self.fc3 = nn.Linear(h, h), nn.Linear(h, 1)

    def forward(self, s):
        s = F.relu(self.bn1(self.fc1(self.bn0(s))))
        return torch.tanh(self.fc3(F.relu(self.fc2(s))))


class Critic(nn.Module):
    def __init__(self, h=64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, 1))

    def forward(self, s, a):
        return self.net(torch.cat([s, a], 1))


def soft_update(target, source, tau):
    with torch.no_grad():
        for t, s in zip(target.parameters(), source.parameters()):
            t.lerp_(s, tau)
        for t, s in zip(target.buffers(), source.buffers()):
            t.copy_(s)


def act(actor, s):
    actor.eval()
    with torch.no_grad():
        a = actor(torch.from_numpy(s)[None]).item()
    actor.train()
    return a


def main():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    torch.set_num_threads(1)
    env, replay = Pendulum(), deque(maxlen=10000)
    actor, critic = Actor(), Critic()
    actor_t, critic_t = copy.deepcopy(actor).eval(), copy.deepcopy(critic).eval()
    opt_a, opt_c = torch.optim.Adam(actor.parameters(), 1e-3), torch.optim.Adam(critic.parameters(), 2e-3)
    for episode in range(36):
        s, done = env.reset(), False
        while not done:
            a = np.clip(act(actor, s) + 0.3 * np.random.randn(), -1, 1) if episode > 2 else random.uniform(-1, 1)
            s2, r, done = env.step(a)
            replay.append((s, a, r, s2))
            s = s2
            if len(replay) < 150 or env.t % 2:
                continue
            S, A, R, S2 = (torch.tensor(np.array(c), dtype=torch.float32) for c in zip(*random.sample(replay, 64)))
            with torch.no_grad():
                goal = R[:, None] + 0.97 * critic_t(S2, actor_t(S2))
            loss_c = F.mse_loss(critic(S, A[:, None]), goal)
            opt_c.zero_grad()
            loss_c.backward()
            opt_c.step()
            loss_a = -critic(S, actor(S)).mean()
            opt_a.zero_grad()
            loss_a.backward()
            opt_a.step()
            soft_update(actor_t, actor, 0.02)
            soft_update(critic_t, critic, 0.02)
        if episode % 12 == 11:
            returns = []
            for _ in range(5):
                s, done, total = env.reset(), False, 0.0
                while not done:
                    s, r, done = env.step(act(actor, s))
                    total += r
                returns.append(total)
            print(f"episode {episode + 1} critic loss {loss_c.item():.3f} mean return {np.mean(returns):.1f}")


main()
