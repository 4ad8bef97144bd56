"""The vectors of the frozen encoder: each text is embedded once, found by its content, and in its place."""

import numpy as np
import pytest
from accelerate import Accelerator

from racer.config import EncoderConfig
from racer.router import backbone
from racer.router.embeddings import vectors_of
from racer.router.encoder import Encoder

TEXTS = ["first", "second, a little longer", "third", "où est 北京?"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return backbone.locate(EncoderConfig(path="tiny"), tmp_path_factory.mktemp("cache"))


class Asked:
    """Vectors from a cache, and what the encoder was asked for on the way."""

    def __init__(self, source, cache):
        self.source, self.cache, self.calls = source, cache, []

    def __call__(self, texts: list[str], pooling: str = "mean", max_length: int = 32, side: str = "right"):
        encoder = Encoder(self.source, pooling, max_length, side)
        embed = encoder.embed
        encoder.embed = lambda new, progress: (self.calls.append(sorted(new)), embed(new, False))[1]
        config = EncoderConfig(pooling=pooling, max_length=max_length, truncation_side=side)
        self.expected = embed(texts)
        return vectors_of(texts, encoder, config, self.source, self.cache, Accelerator(cpu=True))

    def files(self) -> list:
        return sorted((self.cache / "embeddings").glob("*.npz"))


@pytest.fixture
def asked(source, tmp_path):
    return Asked(source, tmp_path)


def test_vectors_are_the_encoders_and_in_the_order_of_the_texts(asked):
    found = asked(TEXTS)
    assert found.dtype == np.float32 and found.shape == (4, 32)
    np.testing.assert_allclose(found, asked.expected, atol=1e-6)
    assert len(np.unique(found, axis=0)) == 4
    np.testing.assert_array_equal(asked(TEXTS[::-1]), found[::-1])


def test_only_new_texts_are_embedded_and_each_once(asked):
    first = asked(TEXTS[:2])
    again = asked([TEXTS[1], "new", TEXTS[0], "new", "newer"])
    assert asked.calls == [sorted(TEXTS[:2]), ["new", "newer"]]
    np.testing.assert_array_equal(again[[2, 0]], first)
    np.testing.assert_array_equal(again[1], again[3])
    np.testing.assert_allclose(again, asked.expected, atol=1e-6)
    assert asked(["newer"]).shape == (1, 32) and len(asked.calls) == 2


def test_a_cache_made_by_a_longer_table_serves_a_shorter_one(asked):
    longer = asked([f"question {i}" for i in range(70)])
    [content] = [path.read_bytes() for path in asked.files()]
    np.testing.assert_array_equal(asked([f"question {i}" for i in (5, 66, 5)]), longer[[5, 66, 5]])
    assert len(asked.calls) == 1 and asked.files()[0].read_bytes() == content


@pytest.mark.parametrize("other", [{"pooling": "cls"}, {"max_length": 8}, {"side": "left"}])
def test_another_way_of_reading_gets_another_file(asked, other):
    text = ["a text of more than eight tokens"]
    first, found = asked(text, max_length=16), asked(text, **{"max_length": 16} | other)
    assert len(asked.files()) == 2 and len(asked.calls) == 2
    np.testing.assert_allclose(found, asked.expected, atol=1e-6)
    assert not np.allclose(first, found, atol=1e-4)


def test_other_weights_get_another_file(asked, tmp_path):
    import shutil

    asked(TEXTS)
    asked.source = shutil.copytree(asked.source, tmp_path / "other")
    asked(TEXTS)
    assert len(asked.files()) == 1  # the same weights elsewhere
    (asked.source / "notes.txt").write_text("another encoder")
    asked(TEXTS)
    assert len(asked.files()) == 2


def test_no_more_than_the_encoder_reads_is_no_other_way_of_reading(asked):
    asked(TEXTS, max_length=512)
    asked(TEXTS, max_length=100_000)
    assert len(asked.files()) == 1 == len(asked.calls)


def test_no_texts_give_no_rows(asked):
    assert asked([]).shape == (0, 32)
    assert asked(TEXTS).shape == (4, 32)
    assert not list((asked.cache / "embeddings").glob("*.partial*"))  # nothing half written is left
