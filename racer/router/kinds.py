"""Which base routers there are: one head for each, all reading the encoder's vectors.

`router=encoder` trains the head that `head=...` names; the others are a head of their own.
"""

from racer.config import Config
from racer.errors import ConfigError
from racer.router.clusters import ClusterHead
from racer.router.contrastive import ContrastiveHead
from racer.router.factors import FactorHead
from racer.router.grown import GrownHead
from racer.router.heads import Head, LatentHead, MultilabelHead, SoftmaxHead
from racer.router.linear import LinearHead
from racer.router.neighbours import NeighbourHead
from racer.router.perceptron import PerceptronHead

HEADS = {kind.name: kind for kind in (MultilabelHead, SoftmaxHead, LatentHead, FactorHead, ContrastiveHead, LinearHead,
                                      PerceptronHead, NeighbourHead, ClusterHead)}
FITTED = (LinearHead, PerceptronHead, NeighbourHead, ClusterHead)  # fitted to vectors once, without gradients


def head_of(config: Config) -> type[Head]:
    """Return the kind of head that the settings ask for; raise `ConfigError` if the encoder cannot be tuned with it."""
    kind = HEADS[config.head.name if config.router.name == "encoder" else config.router.name]
    if kind in FITTED and not config.encoder.freeze:
        raise ConfigError(f"router={kind.name} is fitted to the vectors of a frozen encoder: set encoder.freeze=true")
    if kind in (LinearHead, PerceptronHead) and config.train.soft_labels:
        raise ConfigError(f"router={kind.name} learns from right and wrong, not from fractions: leave "
                          "train.soft_labels out, or take another router")
    if config.head.neighbours and not config.encoder.freeze:
        raise ConfigError("head.neighbours=true needs vectors that stay: set encoder.freeze=true, or leave it out")
    return kind


def rebuilt(record: dict, width: int, models: int) -> Head:
    """Return a fresh head from its name and options, as a router's settings keep them."""
    options = {key: value for key, value in record.items() if key != "name"}
    if record["name"] == GrownHead.name:
        base = rebuilt(options["base"], width, models - options["added"])
        return GrownHead(base, width, models, options["added"])
    return HEADS[record["name"]](width, models, **options)
