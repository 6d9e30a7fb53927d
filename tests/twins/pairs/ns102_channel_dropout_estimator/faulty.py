# A convolutional network behind scikit-learn's estimator interface, so that it fits into our cross-validation.
import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_score
from torch import nn


class ConvNetClassifier(BaseEstimator, ClassifierMixin):
    def __init__(self, width=16, drop=0.5, epochs=8, lr=3e-3, batch_size=64, random_state=0):
        self.width = width
        self.drop = drop
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.random_state = random_state

    def _stage(self, c_in, c_out):
        return [
            nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
            nn.Dropout2d(self.drop),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
        ]

    def _build(self):
        w = self.width
        return nn.Sequential(
            *self._stage(1, w), nn.MaxPool2d(2), *self._stage(w, w), *self._stage(w, w), nn.Flatten(), nn.Linear(16 * w, self.n_out_)
        )

    def fit(self, X, y):
        torch.manual_seed(self.random_state)
        self.classes_ = np.unique(y)
        self.n_out_ = len(self.classes_)
        self.net_ = self._build()
        optimizer = torch.optim.Adam(self.net_.parameters(), lr=self.lr)
        X, y = self._images(X), torch.as_tensor(np.searchsorted(self.classes_, y))
        self.net_.train()
        for _ in range(self.epochs):
            for batch in torch.randperm(len(X)).split(self.batch_size):
                loss = nn.functional.cross_entropy(self.net_(X[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return self

    @torch.no_grad()
    def predict(self, X):
        self.net_.eval()
        return self.classes_[self.net_(self._images(X)).argmax(1).numpy()]

    @staticmethod
    def _images(X):
        return torch.as_tensor(X / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)


if __name__ == "__main__":
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    scores = cross_val_score(ConvNetClassifier(), X, y, cv=StratifiedKFold(2, shuffle=True, random_state=0))
    print(f"accuracy {scores.mean():.3f} +- {scores.std():.3f}")
