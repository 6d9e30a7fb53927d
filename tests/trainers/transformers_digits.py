"""Hugging Face Trainer with a small ResNet from its configuration, on the digits; the first argument names a fault."""

import sys
import tempfile
import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from transformers import (
    PrinterCallback,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

warnings.filterwarnings("ignore")
set_seed(0)
torch.set_num_threads(1)
fault = sys.argv[1] if len(sys.argv) > 1 else ""
digits = load_digits()
pixels = torch.tensor(np.kron(digits.images, np.ones((2, 2))), dtype=torch.float32)[:, None] / 16
rows = [{"pixel_values": p, "labels": int(t)} for p, t in zip(pixels, digits.target, strict=True)]
config = ResNetConfig(
    num_channels=1,
    embedding_size=8,
    hidden_sizes=[8, 16],
    depths=[1, 1],
    layer_type="basic",
    num_labels=10,
)
model = ResNetForImageClassification(config)
if fault == "other-convention":
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.99


def metrics(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


class Evaluation(Trainer):
    def prediction_step(self, model, *args, **kwargs):
        if fault == "evaluation-in-train":
            model.train()
        return super().prediction_step(model, *args, **kwargs)


with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        num_train_epochs=4,
        per_device_train_batch_size=50,
        per_device_eval_batch_size=100,
        learning_rate=5e-3,
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    trainer = Evaluation(
        model,
        arguments,
        train_dataset=rows[:1000],
        eval_dataset=rows[1500:],
        compute_metrics=metrics,
    )
    trainer.remove_callback(PrinterCallback)  # it prints durations
    trainer.train()
    print("accuracy", round(trainer.evaluate()["eval_accuracy"], 4))
