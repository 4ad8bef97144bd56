"""From text to one vector: tokens, batches of like length, transformer, pooling."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from racer.errors import ConfigError
from racer.router import backbone

BATCH = 64  # most texts of a forward pass when scoring
TOKENS = 2048  # on a CPU most tokens of it too, padding included: larger tensors cost memory and gain no time
STEP = 8  # it pads to multiples of this: tensors come in few sizes, so the memory of one fits the next
WIDEST = 100  # characters read for each token that is kept: blanks may fill a text beyond that, words do not
BLOCK = 1 << 19  # characters tokenised at once: what is cut off is in memory until then


class Encoder(nn.Module):
    """A transformer that turns token ids (B, T) into vectors (B, C), by mean or CLS pooling."""

    def __init__(self, folder: Path, pooling: str, max_length: int, truncation_side: str):
        super().__init__()
        self.backbone, self.tokenizer = backbone.load(folder)
        if self.tokenizer.pad_token_id is None:
            raise ConfigError(f"the tokenizer in {folder} has no padding token: choose an encoder, not a "
                              "text generator")
        self.tokenizer.truncation_side = truncation_side
        self.pooling = pooling
        self.max_length = min(max_length, _longest(self.tokenizer, self.backbone.config))
        self.width = self.backbone.config.hidden_size  # C

    @property
    def device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    @property
    def _most(self) -> int:
        """Tokens of a batch at most."""
        return TOKENS if self.device.type == "cpu" else BATCH * _up(self.max_length, STEP)

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of each text, cut to `max_length` on the truncation side.

        Of a very long text only what can be kept is read, `WIDEST` characters per token: no text takes long.
        """
        most = WIDEST * self.max_length
        ends = slice(-most, None) if self.tokenizer.truncation_side == "left" else slice(most)
        return [ids for block in _blocks([text[ends] for text in texts])
                for ids in self.tokenizer(block, truncation=True, max_length=self.max_length)["input_ids"]]

    def pad(self, tokens: list[list[int]], step: int = 1) -> dict[str, torch.Tensor]:
        """Return `input_ids` and `attention_mask`, both (B, T), on the encoder's device; T is the longest of the batch,
        and then the next multiple of `step`, but no more than `max_length`.
        """
        longest = max(len(t) for t in tokens)
        length = max(min(_up(longest, step), self.max_length), longest)
        ids = np.full((len(tokens), length), self.tokenizer.pad_token_id)
        mask = np.zeros_like(ids)
        for row, t in enumerate(tokens):
            ids[row, :len(t)], mask[row, :len(t)] = t, 1
        return {name: torch.from_numpy(array).to(self.device)
                for name, array in (("input_ids", ids), ("attention_mask", mask))}

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, T, C)
        if self.pooling == "cls":
            return hidden[:, 0]
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1)

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.backbone.save_pretrained(folder)

    def embed(self, texts: list[str], progress: bool = False) -> np.ndarray:
        """Return the vectors (n, C) float32 of the texts, in their order; texts of like length share a batch."""
        return self.vectors(self.tokenize(texts), progress)

    @torch.inference_mode()
    def vectors(self, tokens: list[list[int]], progress: bool = False) -> np.ndarray:
        """Return the vectors (n, C) float32 of texts that are tokens already."""
        self.eval()
        vectors = np.empty((len(tokens), self.width), dtype=np.float32)
        with tqdm(total=len(tokens), desc="embed", unit="query", disable=not progress) as bar:
            for rows in _batches_of_like_length(tokens, self._most):
                vectors[rows] = self(**self.pad([tokens[r] for r in rows], STEP)).float().cpu().numpy()
                bar.update(len(rows))
        return vectors

    def share_of_lookalikes(self, texts: list[str], pairs: int = 500) -> float:
        """Return how alike the truncated texts look: the median share of kept tokens that two of them have in common
        at the end that is kept, over random pairs; 0 where fewer than two texts are truncated.
        """
        kept = [t for t in self.tokenize(texts) if len(t) == self.max_length]
        if len(kept) < 2:
            return 0.0
        ids = np.array(kept)
        if self.tokenizer.truncation_side == "left":
            ids = ids[:, ::-1]
        draws = np.random.default_rng(0).integers(len(ids), size=(pairs, 2))
        a, b = draws[draws[:, 0] != draws[:, 1]].T
        common = np.logical_and.accumulate(ids[a, 1:-1] == ids[b, 1:-1], axis=1).sum(axis=1)  # special tokens left out
        return float(np.median(common / (self.max_length - 2)))


def _longest(tokenizer, config) -> int:
    """The most tokens the transformer can read; position tables of the RoBERTa kind lose two rows to padding."""
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    offset = 2 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    return min(positions - offset, tokenizer.model_max_length)


def _blocks(texts: list[str]) -> Iterator[list[str]]:
    """Yield the texts in their order, a block at a time, each of some `BLOCK` characters or one longer text."""
    block, size = [], 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def _batches_of_like_length(tokens: list[list[int]], most: int) -> Iterator[np.ndarray]:
    """Yield the rows of each batch, longest first, so that memory trouble shows at once.

    A batch has `BATCH` texts, or as many as have `most` tokens with their padding, but at least one.
    """
    order = np.argsort([-len(t) for t in tokens], kind="stable")
    start = 0
    while start < len(order):
        size = max(min(BATCH, most // _up(len(tokens[order[start]]), STEP)), 1)
        yield order[start:start + size]
        start += size


def _up(length: int, step: int) -> int:
    """Return the least multiple of `step` from `length` on."""
    return -(-length // step) * step
