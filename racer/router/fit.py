"""The training loop: one epoch after another, the best weights by validation loss, and resume.

The order of the queries is a function of (seed, epoch) alone and every random state is kept, so a run
that is killed and started again ends with the weights of one that was not.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, DistributedDataParallelKwargs
from torch import nn
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm
from transformers import get_linear_schedule_with_warmup

from racer.config import TrainConfig
from racer.errors import ConfigError
from racer.router.encoder import Encoder
from racer.router.heads import Head

MEGABATCH = 16  # batches within which queries are sorted by length, to pad less
LOG_EVERY = 10  # optimizer steps


class Network(nn.Module):
    """What is trained: the head, on ready vectors (B, C), or below it the encoder, on tokens."""

    def __init__(self, head: Head, encoder: Encoder | None):
        super().__init__()
        self.head, self.encoder = head, encoder

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.head(inputs["vectors"] if self.encoder is None else self.encoder(**inputs))


@dataclass
class Examples:
    """Queries as the network takes them: `inputs` are vectors (n, C) or lists of tokens; labels (n, M+1)."""

    inputs: np.ndarray | list[list[int]]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> int:
        return row  # rows are gathered in `collate`, a batch at a time

    def lengths(self) -> np.ndarray:
        return np.array([len(x) for x in self.inputs])  # all equal (C) for vectors

    def collate(self, encoder: Encoder | None, process: int = 0, processes: int = 1) -> Callable:
        """Return the function that makes (inputs, labels, weight) of the rows of a batch, one process's part of them.

        The sum of the part's losses times `weight`, averaged over processes, is the mean loss of the batch, however
        it divides: a process without a row of its own reads one with weight 0, and no row counts twice.
        """
        def batch(rows: list[int]):
            own = np.array_split(rows, processes)[process].tolist()
            weight = processes / len(rows) if own else 0.0
            own = own or rows[:1]
            labels = torch.from_numpy(self.labels[own])
            if encoder is None:
                return {"vectors": torch.from_numpy(self.inputs[own])}, labels, weight
            return encoder.pad([self.inputs[r] for r in own]), labels, weight
        return batch


class EpochBatches(Sampler[list[int]]):
    """Batches of rows in an order that depends on (seed, epoch) only; `set` chooses the epoch and where to start."""

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.set(epoch=0, start=0)

    def set(self, epoch: int, start: int) -> None:
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size) - self.start

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        span = MEGABATCH * self.batch_size
        for a in range(0, len(order), span):
            part = order[a:a + span]
            order[a:a + span] = part[np.argsort(self.lengths[part], kind="stable")]
        whole = len(order) // self.batch_size
        batches = np.split(order[:whole * self.batch_size], whole) if whole else []
        batches = [batches[i] for i in rng.permutation(whole)]
        if whole * self.batch_size < len(order):
            batches.append(order[whole * self.batch_size:])  # the short batch comes last
        return iter([b.tolist() for b in batches[self.start:]])


class TrainState:
    """All that resuming needs beside weights, optimizer, schedule and random states, which accelerate keeps."""

    def __init__(self):
        self.epoch, self.batch, self.step = 0, 0, 0  # epochs and optimizer steps done, batches done in this epoch
        self.loss_sum = 0.0  # over the batches done in this epoch
        self.best_loss, self.best_epoch = math.inf, 0
        self.best_weights: dict[str, torch.Tensor] = {}
        self.history: list[dict] = []  # what was logged, to be told again when the router is reused

    def state_dict(self) -> dict:
        return dict(self.__dict__)

    def load_state_dict(self, state: dict) -> None:
        self.__dict__.update(state)

    def finished(self, config: TrainConfig) -> bool:
        return self.epoch >= config.epochs or self.epoch - self.best_epoch >= config.patience


def accelerator_for(config: TrainConfig) -> Accelerator:
    """Return the accelerator of one training. A sweep trains several in one process, perhaps in other precisions."""
    AcceleratorState._reset_state()  # without this, a second precision raises
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision, cpu=config.cpu, gradient_accumulation_steps=config.accumulate,
        dataloader_config=DataLoaderConfiguration(split_batches=True),  # the schedule steps once, not once a process
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])  # a pooler may be unused
    if config.mixed_precision == "fp16" and accelerator.device.type == "cpu":  # would be silently off
        raise ConfigError("train.mixed_precision=fp16 needs a GPU, this training is on the CPU: set bf16 or no")
    return accelerator


class Fit:
    """One training of one network. `run` goes on from the newest state in `folder`, if there is one."""

    def __init__(self, network: Network, train: Examples, validation: Examples, config: TrainConfig, seed: int,
                 accelerator: Accelerator, folder: Path, log: Callable[[dict], None]):
        self.config, self.accelerator, self.folder, self.log = config, accelerator, folder, log
        self.state, self.head = TrainState(), network.head
        self.batches = EpochBatches(train.lengths(), config.batch_size, seed)
        by_length = np.argsort(validation.lengths(), kind="stable")
        validation_batches = [b.tolist() for b in np.array_split(by_length, math.ceil(len(by_length) / 64))]
        part = (accelerator.process_index, accelerator.num_processes)
        loaders = [DataLoader(train, batch_sampler=self.batches, generator=torch.Generator(),
                              collate_fn=train.collate(network.encoder, *part)),
                   DataLoader(validation, batch_sampler=validation_batches, generator=torch.Generator(),
                              collate_fn=validation.collate(network.encoder))]
        optimizer = _optimizer(network, config)
        steps = config.epochs * math.ceil(len(self.batches) / config.accumulate)
        self.steps = steps
        schedule = get_linear_schedule_with_warmup(optimizer, int(config.warmup * steps), steps)
        self.network, self.optimizer, self.schedule = accelerator.prepare(network, optimizer, schedule)
        # each process takes its part in `collate`: accelerate would fill a short batch up with rows it had before
        self.train_loader = prepare_data_loader(loaders[0], accelerator.device, num_processes=1, process_index=0,
                                                put_on_device=True)
        self.validation_loader = loaders[1]  # every process judges all of it: the mean is exact, without padding
        accelerator.register_for_checkpointing(self.state)

    def run(self) -> TrainState:
        """Train to the end; leave the best weights in the network and return the state."""
        self._resume()
        with tqdm(total=self.steps, initial=self.state.step, desc="train", unit="step",
                  disable=not self.accelerator.is_main_process) as bar:
            while not self.state.finished(self.config):
                self._epoch(bar)
                self._judge(bar)
                self._save()
        self.accelerator.unwrap_model(self.network).load_state_dict(self.state.best_weights)
        return self.state

    def _epoch(self, bar: tqdm) -> None:
        state = self.state
        self.batches.set(state.epoch, state.batch)
        self.network.train()
        for inputs, labels, weight in self.train_loader:
            with self.accelerator.accumulate(self.network):
                loss = weight * self.head.loss(self.network(inputs), labels).sum()
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.network.parameters(), 1.0)
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad()
            state.batch += 1
            batch_loss = float(self.accelerator.reduce(loss.detach(), reduction="mean"))
            state.loss_sum += batch_loss
            if self.accelerator.sync_gradients:
                self._after_step(bar, batch_loss)

    def _after_step(self, bar: tqdm, loss: float) -> None:
        self.state.step += 1
        bar.update()
        if self.state.step % LOG_EVERY == 0:
            self._note(train_loss=loss, lr=self.schedule.get_last_lr()[0])
        if self.state.step % self.config.save_every == 0:
            self._save()

    def _judge(self, bar: tqdm) -> None:
        """Close the epoch: validation loss, best weights."""
        state = self.state
        state.epoch += 1
        loss = self._validation_loss()
        if loss < state.best_loss:
            weights = self.accelerator.unwrap_model(self.network).state_dict()
            state.best_loss, state.best_epoch = loss, state.epoch
            state.best_weights = {k: v.detach().cpu().clone() for k, v in weights.items()}
        self._note(epoch=state.epoch, epoch_train_loss=state.loss_sum / max(state.batch, 1), validation_loss=loss)
        bar.set_postfix(epoch=state.epoch, validation=f"{loss:.4f}", best=f"{state.best_loss:.4f}")
        state.batch, state.loss_sum = 0, 0.0

    @torch.inference_mode()
    def _validation_loss(self) -> float:
        self.network.eval()
        total, count = 0.0, 0
        for inputs, labels, _ in self.validation_loader:
            inputs = {k: v.to(self.accelerator.device) for k, v in inputs.items()}
            losses = self.head.loss(self.network(inputs), labels.to(self.accelerator.device))
            total, count = total + float(losses.sum()), count + len(losses)
        return total / count

    def _note(self, **numbers: float) -> None:
        numbers = {"step": self.state.step, **numbers}
        self.state.history.append(numbers)
        self.log(numbers)

    def _save(self) -> None:
        """Keep the state on disk, whole or not at all, and drop the one before."""
        partial = self.folder / "partial"
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()  # every process has written its random states
        if self.accelerator.is_main_process:
            older = _states(self.folder)
            os.replace(partial, self.folder / f"state-{self.state.epoch:05d}-{self.state.batch:08d}")
            for folder in older:
                shutil.rmtree(folder)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        states = _states(self.folder)
        if states:
            self.accelerator.load_state(str(states[-1]))
            for numbers in self.state.history:
                self.log(numbers)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("state-*"))


def _optimizer(network: Network, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with a rate of its own for the encoder; biases and norms do not decay."""
    groups = []
    for module, lr in ((network.head, config.lr), (network.encoder, config.encoder_lr)):
        parameters = [] if module is None else list(module.parameters())
        for decays in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == decays]
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": config.weight_decay if decays else 0.0})
    return torch.optim.AdamW(groups)
