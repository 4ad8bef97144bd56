"""From queries with labels to a head: fitted in one go, or trained by gradients, alone or with the encoder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from racer.config import Config
from racer.router.contrastive import ContrastiveHead
from racer.router.encoder import Encoder
from racer.router.factors import FactorHead
from racer.router.fit import Examples, Fit, Network
from racer.router.heads import Head, NetworkHead
from racer.router.kinds import FITTED, head_of

BLOCK = 2048  # train queries that look for neighbours at once


def learn(config: Config, encoder: Encoder, train: Examples, validation: Examples, accelerator: Accelerator,
          folder: Path, tell: Callable[[dict], None]) -> tuple[Head, list[dict]]:
    """Return the head that the settings ask for, and its training curve; the encoder is tuned with it unless frozen.

    `folder` keeps states from which a killed training goes on; `tell` receives the curve, line by line.
    """
    kind = head_of(config)
    if kind in FITTED:
        head, loss = kind.fit(train.inputs, train.labels, validation.inputs, validation.labels, config.seed)
        tell(numbers := {"validation_loss": loss})
        return head, [numbers]
    head = kind(encoder.width, train.labels.shape[1] - 1, **_options(kind, config, len(train)))
    head.start(train.labels)
    if isinstance(head, NetworkHead) and head.bank is not None:
        train = _with_neighbours(head, train)
    if kind is ContrastiveHead and not config.encoder.freeze:
        train, validation = _with_clusters(config, encoder.to(accelerator.device), train, validation)
    network = Network(head, None if config.encoder.freeze else encoder)
    return head, Fit(network, train, validation, config.train, config.seed, accelerator, folder, tell).run().history


def _options(kind: type[Head], config: Config, rows: int) -> dict:
    if kind is ContrastiveHead:
        return {}
    if kind is FactorHead:
        return {"rank": config.router.rank, "dropout": config.head.dropout}
    neighbours = config.encoder.freeze if config.head.neighbours is None else config.head.neighbours
    return {"hidden": config.head.hidden, "dropout": config.head.dropout, "members": config.head.members,
            "rows": rows if neighbours else 0}


def _with_neighbours(head: NetworkHead, train: Examples) -> Examples:
    """Fill the head's bank; return the train examples as its networks read them, none being its own neighbour."""
    head.bank.remember(train.inputs, train.labels)
    blocks = torch.arange(len(train)).split(BLOCK)
    return replace(train, inputs=torch.cat([head.read(torch.from_numpy(train.inputs[rows]), rows)
                                            for rows in blocks]).numpy())


def _with_clusters(config: Config, encoder: Encoder, train: Examples,
                   validation: Examples) -> tuple[Examples, Examples]:
    """Return the examples with one more label: the query's cluster, by k-means of what the encoder says untuned."""
    from sklearn.cluster import KMeans

    means = KMeans(min(config.router.clusters, len(train)), n_init=4, random_state=config.seed)
    cluster = means.fit_predict(encoder.vectors(train.inputs, progress=True))
    unused = np.zeros(len(validation))  # this term is for training only
    return tuple(replace(part, labels=np.column_stack([part.labels, c]).astype(np.float32))
                 for part, c in ((train, cluster), (validation, unused)))
