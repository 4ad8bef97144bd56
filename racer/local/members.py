"""From settings to the members of the local pool."""

from collections.abc import Callable
from pathlib import Path

from racer import prompts
from racer.config import LocalMemberConfig, LocalPoolConfig
from racer.errors import ConfigError
from racer.local import calculator, calendar, lookup, speller, weights
from racer.local.language_model import QUERY, LanguageModel
from racer.local.member import Member, Program
from racer.local.nearest import Nearest

PROGRAMS: dict[str, Callable[[str], str | None]] = {
    "calculator": calculator.answer, "calendar": calendar.answer, "speller": speller.answer, "lookup": lookup.answer}


def build(settings: LocalPoolConfig) -> dict[str, Member]:
    """Return the members that are to be served, by name; raise `ConfigError` where one cannot be had."""
    names = list(settings.members) if settings.only is None else settings.only
    if strange := [name for name in names if name not in settings.members]:
        raise ConfigError(f"only names {', '.join(strange)}, expected some of {', '.join(settings.members)}")
    if not names:
        raise ConfigError("no member is to be served: give at least one")
    return {name: _member(name, settings.members[name], settings) for name in names}


def _member(name: str, member: LocalMemberConfig, settings: LocalPoolConfig) -> Member:
    if member.kind in PROGRAMS:
        return Program(PROGRAMS[member.kind])
    if member.kind == "nearest":
        return _nearest(settings)
    prompt = prompts.read(f"members.{name}.prompt", _prompt(member.prompt), "", (QUERY,)).rstrip("\n")
    return LanguageModel(weights.locate(member.weights), prompt, member.stop, settings.threads, settings.context)


def _prompt(given: str) -> str:
    """Return the path of a prompt: a file, or one of those in conf/local by its name."""
    preset = prompts.CONF / "local" / f"{given}.txt"
    return given if Path(given).is_file() or not preset.is_file() else str(preset)


def _nearest(settings: LocalPoolConfig) -> Nearest:
    import torch  # only where this member is served

    from racer.router import backbone
    from racer.router.encoder import Encoder

    torch.set_num_threads(settings.threads)
    one = settings.encoder
    folder = backbone.locate(one, Path(settings.cache_dir))
    encoder = Encoder(folder, one.pooling, one.max_length, one.truncation_side)
    return Nearest(encoder.embed, lambda text: len(encoder.tokenize([text])[0]))
