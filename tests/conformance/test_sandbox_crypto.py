"""The sandbox's own crypto against WeChat's published vectors and against the SDK's."""

import importlib.util
import json
from pathlib import Path

import pytest
from sandbox_harness import SANDBOX
from wechatpy.crypto import PrpCrypto

VECTORS = json.loads((Path(__file__).parent / "wechat_vectors.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def crypto():
    """The sandbox's crypto module, loaded alone."""
    spec = importlib.util.spec_from_file_location("sandbox_crypto", SANDBOX / "crypto.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("vector", VECTORS["signatures"], ids=lambda vector: vector["id"])
def test_published_signature(crypto, vector):
    made = crypto.signature(vector["token"], vector["timestamp"], vector["nonce"])
    assert made == vector["signature"]


@pytest.mark.parametrize("vector", VECTORS["encrypted"], ids=lambda vector: vector["id"])
def test_published_encryption(crypto, vector):
    key = crypto.aes_key(vector["encoding_aes_key"])
    plain = vector["plaintext"].encode()
    assert crypto.decrypt(vector["encrypt"], key, vector["appid"]) == plain
    assert crypto.encrypt(plain, key, vector["appid"], vector["random"].encode()) == vector["encrypt"]
    made = crypto.signature(vector["token"], vector["timestamp"], vector["nonce"], vector["encrypt"])
    assert made == vector["msg_signature"]


@pytest.mark.parametrize("length", range(64, 97))
def test_sdk_reads_every_padding(crypto, length):
    key, text = crypto.aes_key("A" * 43), "x" * length
    sealed = crypto.encrypt(text.encode(), key, "wx5823bf96d3bd56c7")
    assert PrpCrypto(key).decrypt(sealed, "wx5823bf96d3bd56c7") == text
    assert crypto.decrypt(PrpCrypto(key).encrypt(text, "wx1").decode(), key, "wx1") == text.encode()


@pytest.mark.parametrize("broken", ["", "!!!!", "AAAA", "A" * 44])
def test_foreign_envelope_is_refused(crypto, broken):
    with pytest.raises(crypto.CryptoError):
        crypto.decrypt(broken, crypto.aes_key("A" * 43), "wx1")


def test_foreign_app_id_is_refused(crypto):
    key = crypto.aes_key("A" * 43)
    with pytest.raises(crypto.CryptoError, match="another app id"):
        crypto.decrypt(crypto.encrypt(b"hello", key, "wx1"), key, "wx2")
