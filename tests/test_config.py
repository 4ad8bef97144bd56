"""The composed settings: every preset, and that a mistake is an error."""

import pytest
from conftest import CONF, composed
from hydra.errors import HydraException

from racer.errors import ConfigError


@pytest.mark.parametrize("group", ["data", "encoder", "head", "router"])
def test_every_preset_composes_onto_the_schema(group):
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    assert names
    for name in names:
        needed = ["router.path=probabilities.npz"] if name == "file" else []
        section = getattr(composed(f"{group}={name}", *needed), group)
        assert name == getattr(section, "name", name)


def test_the_contract_of_the_main_job_composes():
    config = composed("data.path=FOLDER", "run_dir=OUT", "encoder=minilm", "encoder.freeze=true", "router=encoder",
                      "head=softmax", "sets.family=gap", "sets.null=product", "risk.loss=miss", "risk.method=crc",
                      "risk.alpha=0.05", "risk.delta=0.2", "seed=0")
    assert (config.data.path, config.run_dir, config.head.name) == ("FOLDER", "OUT", "softmax")
    assert (config.encoder.freeze, config.sets.family, config.sets.null) == (True, "gap", "product")
    assert (config.risk.loss, config.risk.method, config.risk.alpha, config.seed) == ("miss", "crc", 0.05, 0)


@pytest.mark.parametrize("override", ["sets.nul=free", "risk.alpha=high", "encoder=unheard_of", "train.epochs=1.5"])
def test_unknown_keys_and_wrong_types_are_refused(override):
    with pytest.raises(HydraException):
        composed(override)


@pytest.mark.parametrize(("override", "says"), [
    ("sets.family=nearest", "sets.family is 'nearest', expected one of probability, gap"),
    ("sets.null=maybe", "sets.null is 'maybe', expected one of learned"),
    ("risk.loss=hinge", "risk.loss is 'hinge'"), ("risk.method=guess", "risk.method is 'guess'"),
    ("data.missing=fill", "data.missing is 'fill'"), ("data.right_at=0", "data.right_at is 0"),
    ("encoder.pooling=max", "encoder.pooling is 'max'"),
    ("encoder.max_length=2", "encoder.max_length is 2, expected a number of at least 4"),
    ("sets.max_size=0", "sets.max_size is 0"), ("sets.cost_power=-1", "sets.cost_power is -1"),
    ("train.batch_size=0", "train.batch_size is 0"),
    ("seed=-1", "seed is -1"), ("head.dropout=1", "head.dropout is 1"),
    ("train.warmup=5", "train.warmup is 5"), ("train.lr=-1", "train.lr is -1"),
    ("head.hidden=-5", "head.hidden is -5"), ("tracking.wandb=maybe", "tracking.wandb is 'maybe'"),
    ("train.mixed_precision=fp8", "train.mixed_precision is 'fp8'"),
])
def test_values_out_of_range_are_refused_with_what_was_expected(override, says):
    with pytest.raises(ConfigError, match=says.replace("[", r"\[")):
        composed(override)
