import base64
import json
import struct
from pathlib import Path
from unittest.mock import patch

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from odoo.tests import BaseCase, tagged

from ...tools import wechat_crypto
from ...tools.wechat_crypto import WechatCrypto, WechatCryptoError, WechatSignatureError

VECTORS = json.loads((Path(__file__).parent / "wechat_vectors.json").read_text())

TOKEN = "spamtest"
APP_ID = "wx2c2769f8efd9abc2"
KEY = wechat_crypto.generate_encoding_aes_key()
OTHER_KEY = wechat_crypto.generate_encoding_aes_key()
TIMESTAMP, NONCE = "1409735669", "1320562132"


def envelope(message, key=KEY, pad=None):
    """Encrypt the part between random bytes and padding, with any padding, like a faulty peer."""
    plain = b"r" * 16 + message
    if pad is None:
        size = 32 - len(plain) % 32
        pad = bytes([size]) * size
    aes_key = base64.b64decode(key + "=")
    encryptor = Cipher(algorithms.AES(aes_key), modes.CBC(aes_key[:16])).encryptor()
    return signed(base64.b64encode(encryptor.update(plain + pad) + encryptor.finalize()).decode())


def signed(encrypted):
    return encrypted, wechat_crypto.sign(TOKEN, TIMESTAMP, NONCE, encrypted), TIMESTAMP, NONCE


def message(text, app_id=APP_ID, length=None):
    return struct.pack(">I", len(text) if length is None else length) + text + app_id.encode()


@tagged("post_install", "-at_install", "wechat_tools")
class TestSignature(BaseCase):
    def test_published_signatures(self):
        for vector in VECTORS["signatures"]:
            with self.subTest(vector["id"]):
                parts = vector["token"], vector["timestamp"], vector["nonce"]
                self.assertEqual(wechat_crypto.sign(*parts), vector["signature"])
                self.assertTrue(wechat_crypto.verify(vector["signature"], *parts))
                self.assertTrue(wechat_crypto.verify(vector["signature"], *reversed(parts)))

    def test_every_part_counts(self):
        parts = TOKEN, TIMESTAMP, NONCE
        signature = wechat_crypto.sign(*parts)
        for position in range(3):
            changed = list(parts)
            changed[position] += "0"
            self.assertFalse(wechat_crypto.verify(signature, *changed))
        for wrong in (signature[:-1], signature + "0", signature.upper(), "é" * 40, "\udcff", "", None):
            with self.subTest(wrong):
                self.assertFalse(wechat_crypto.verify(wrong, *parts))

    def test_missing_part_fails_authentication(self):
        for absent in ("", None, False):
            with self.subTest(absent):
                self.assertFalse(wechat_crypto.verify(wechat_crypto.sign(TIMESTAMP, NONCE), absent, TIMESTAMP, NONCE))
                self.assertFalse(wechat_crypto.verify(wechat_crypto.sign(TOKEN, NONCE), TOKEN, absent, NONCE))

    def test_every_text_can_be_signed(self):
        for text in ("é", "\udcff", "\x00", "🙂"):
            with self.subTest(repr(text)):
                self.assertTrue(wechat_crypto.verify(wechat_crypto.sign(TOKEN, text), TOKEN, text))


@tagged("post_install", "-at_install", "wechat_tools")
class TestKeys(BaseCase):
    def test_generated_values(self):
        for _i in range(100):
            self.assertRegex(wechat_crypto.generate_token(), r"\A[A-Za-z0-9]{32}\Z")
            key = wechat_crypto.generate_encoding_aes_key()
            self.assertRegex(key, r"\A[A-Za-z0-9]{43}\Z")
            raw = wechat_crypto.check_encoding_aes_key(key)
            self.assertEqual(len(raw), 32)
            # Required by strict decoders: the digits are exactly the encoding of the bytes.
            self.assertEqual(base64.b64encode(raw).decode(), key + "=")
        self.assertNotEqual(wechat_crypto.generate_token(), wechat_crypto.generate_token())
        self.assertNotEqual(wechat_crypto.generate_encoding_aes_key(), wechat_crypto.generate_encoding_aes_key())

    def test_malformed_keys(self):
        for end in ("", "AA", "=", "\n", "!", "-", "_", "密"):
            key = "A" * 42 + end
            with self.subTest(key), self.assertRaises(WechatCryptoError):
                wechat_crypto.check_encoding_aes_key(key)
        # Without its invalid characters, it would be the base64 of 29 bytes.
        for key in ("A" * 39 + "!!!!", "!!!!" + "A" * 39):
            with self.subTest(key), self.assertRaises(WechatCryptoError):
                wechat_crypto.check_encoding_aes_key(key)
        with self.assertRaises(WechatCryptoError):
            WechatCrypto(TOKEN, APP_ID, "A" * 42)
        with self.assertRaises(WechatCryptoError):
            WechatCrypto(TOKEN, APP_ID, KEY, previous_key="A" * 42)

    def test_key_with_spare_bits(self):
        # WeChat's console accepts any last character; B and A encode the same 32 bytes.
        self.assertEqual(
            wechat_crypto.check_encoding_aes_key("A" * 42 + "B"), wechat_crypto.check_encoding_aes_key("A" * 43)
        )


@tagged("post_install", "-at_install", "wechat_tools")
class TestEncryption(BaseCase):
    def setUp(self):
        super().setUp()
        self.crypto = WechatCrypto(TOKEN, APP_ID, KEY)

    def test_published_messages_are_read(self):
        for vector in VECTORS["encrypted"]:
            with self.subTest(vector["id"]):
                crypto = WechatCrypto(vector["token"], vector["appid"], vector["encoding_aes_key"])
                opened = crypto.decrypt(
                    vector["encrypt"], vector["msg_signature"], vector["timestamp"], vector["nonce"]
                )
                self.assertEqual(opened.plaintext.decode(), vector["plaintext"])
                self.assertEqual(opened.key, vector["encoding_aes_key"])

    def test_published_messages_are_written(self):
        for vector in VECTORS["encrypted"]:
            with (
                self.subTest(vector["id"]),
                patch.object(wechat_crypto.secrets, "token_bytes", return_value=vector["random"].encode()),
            ):
                crypto = WechatCrypto(vector["token"], vector["appid"], vector["encoding_aes_key"])
                written = crypto.encrypt(vector["plaintext"].encode(), vector["timestamp"], vector["nonce"])
                self.assertEqual(
                    written,
                    (vector["encrypt"], vector["msg_signature"], vector["timestamp"], vector["nonce"]),
                )

    def test_every_length(self):
        # Over two blocks, so that each padding from 1 to 32 occurs.
        for size in range(65):
            text = b"x" * size
            written = self.crypto.encrypt(text, TIMESTAMP, NONCE)
            self.assertEqual(len(base64.b64decode(written.encrypt)) % 32, 0)
            self.assertEqual(self.crypto.decrypt(*written).plaintext, text)

    def test_equal_messages_look_different(self):
        first, second = (self.crypto.encrypt(b"same", TIMESTAMP, NONCE).encrypt for _i in range(2))
        self.assertNotEqual(first[:24], second[:24])

    def test_tampering(self):
        written = self.crypto.encrypt("绑定".encode(), TIMESTAMP, NONCE)
        for field, value in (
            ("encrypt", "A" + written.encrypt[1:] if written.encrypt[0] != "A" else "B" + written.encrypt[1:]),
            ("encrypt", written.encrypt + " "),
            ("encrypt", ""),
            ("encrypt", None),
            ("msg_signature", "0" * 40),
            ("msg_signature", None),
            ("timestamp", "1409735670"),
            ("timestamp", None),
            ("nonce", "1320562133"),
            ("nonce", ""),
        ):
            with self.subTest(field=field, value=value), self.assertRaises(WechatSignatureError):
                self.crypto.decrypt(*written._replace(**{field: value}))
        with self.assertRaises(WechatSignatureError):
            WechatCrypto(TOKEN + "x", APP_ID, KEY).decrypt(*written)

    def test_authentic_but_malformed_push_is_refused(self):
        """The error differs from that of a forged signature."""
        whole = message(b"<xml/>")
        for name, push in {
            "one byte": signed("Cg=="),
            "nothing": signed("=="),
            "not base64": signed("****"),
            "base64 with a line break": signed(envelope(whole)[0] + "\n"),
            "not ASCII": signed("密文"),
            "padded to 16": envelope(message(b"x" * 8), pad=bytes([2]) * 2),
            "padding of 0": envelope(whole + b"x" * 18, pad=b"\0" * 2),
            "padding of 33": envelope(message(b"x" * 57), pad=bytes([33]) * 33),
            "uneven padding": envelope(whole, pad=b"\x01" * 19 + bytes([20])),
            "nothing but padding": envelope(b"", pad=bytes([16]) * 16),
            "no length": envelope(b"\0\0"),
            "length beyond the end": envelope(message(b"<xml/>", length=2**32 - 1)),
            "length too short": envelope(message(b"<xml/>", length=5)),
            "another app": envelope(message(b"<xml/>", app_id="wx2c2769f8efd9abc3")),
            "no app": envelope(message(b"<xml/>", app_id="")),
            "longer app": envelope(message(b"<xml/>", app_id=APP_ID + "0")),
            "another key": envelope(whole, key=OTHER_KEY),
        }.items():
            with self.subTest(name), self.assertRaises(WechatCryptoError) as caught:
                self.crypto.decrypt(*push)
            self.assertNotIsInstance(caught.exception, WechatSignatureError)
        self.assertEqual(self.crypto.decrypt(*envelope(whole)).plaintext, b"<xml/>")

    def test_previous_key(self):
        renewed = WechatCrypto(TOKEN, APP_ID, OTHER_KEY, previous_key=KEY)
        with self.assertRaises(WechatCryptoError):
            WechatCrypto(TOKEN, APP_ID, OTHER_KEY).decrypt(*envelope(message(b"old")))
        opened = renewed.decrypt(*envelope(message(b"old")))
        self.assertEqual(opened, (b"old", KEY))
        # The reply to the push can be read with the previous key, other replies with the present key.
        reply = renewed.encrypt(b"reply", TIMESTAMP, NONCE, key=opened.key)
        self.assertEqual(self.crypto.decrypt(*reply).plaintext, b"reply")
        reply = renewed.encrypt(b"reply", TIMESTAMP, NONCE)
        self.assertEqual(WechatCrypto(TOKEN, APP_ID, OTHER_KEY).decrypt(*reply).plaintext, b"reply")

    def test_nothing_secret_is_printed(self):
        opened = self.crypto.decrypt(*envelope(message(b"private")))
        self.assertEqual(repr(opened), str(opened))
        self.assertNotIn(KEY, repr(opened))
        self.assertNotIn("private", repr(opened))
