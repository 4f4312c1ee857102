"""Signatures and message encryption of WeChat's pushes.

Source of every protocol fact here: WeChat's guide "消息加解密说明"
(https://developers.weixin.qq.com/doc/subscription/guide/dev/push/encryption.html).
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import string
import struct
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ENCODING_AES_KEY_LENGTH = 43
TOKEN_LENGTH = 32

_ALPHANUMERIC = string.ascii_letters + string.digits
# The base64 digits with two low bits of zero: 43 digits hold 258 bits for a key of 256 bits, and strict decoders refuse
# a key with spare bits set.
_LAST_KEY_DIGITS = "AEIMQUYcgkosw048"

_BLOCK_SIZE = 32  # WeChat pads to 32 bytes, although an AES block has 16
_RANDOM_SIZE = 16
_LENGTH_SIZE = 4


class WechatCryptoError(ValueError):
    """A key is malformed, or a push was not encrypted with the account's keys."""


class WechatSignatureError(WechatCryptoError):
    """The signature is missing or wrong: the sender does not know our token."""


class Decrypted(NamedTuple):
    """The content of a push, and the EncodingAESKey that decrypted it, with which the reply is encrypted."""

    plaintext: bytes
    key: str

    def __repr__(self):
        # The generated one would write the key and a merchant's message into logs.
        return f"Decrypted(<{len(self.plaintext)} bytes>)"


class Encrypted(NamedTuple):
    """The four fields of an encrypted reply."""

    encrypt: str
    msg_signature: str
    timestamp: str
    nonce: str


def sign(*parts):
    """Return WeChat's signature of the given strings, in any order.

    :param str parts: token, timestamp and nonce; for msg_signature also the text of Encrypt
    :return: 40 lowercase hexadecimal digits
    """
    joined = "".join(sorted(parts)).encode("utf-8", "surrogatepass")
    return hashlib.sha1(joined, usedforsecurity=False).hexdigest()


def verify(signature, *parts):
    """Tell in constant time whether a signature is that of the parts.

    A missing signature or part is refused: with an empty token, any sender could compute the signature.

    :param signature: the signature of the request, None if it has none
    :param parts: as for sign, each possibly None
    :rtype: bool
    """
    if not signature or not all(parts):
        return False
    return hmac.compare_digest(sign(*parts).encode(), signature.encode("utf-8", "surrogatepass"))


def generate_token():
    """Return a new webhook token: 32 random letters and digits (WeChat allows 3 to 32)."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _i in range(TOKEN_LENGTH))


def generate_encoding_aes_key():
    """Return a new EncodingAESKey: 43 random letters and digits that strict base64 decoders accept."""
    digits = [secrets.choice(_ALPHANUMERIC) for _i in range(ENCODING_AES_KEY_LENGTH - 1)]
    return "".join(digits) + secrets.choice(_LAST_KEY_DIGITS)


def check_encoding_aes_key(key):
    """Return the 32 bytes of an EncodingAESKey.

    :param str key: 43 base64 digits, without the padding
    :raise WechatCryptoError: if the key is malformed
    """
    if len(key) != ENCODING_AES_KEY_LENGTH or key.endswith("="):
        raise WechatCryptoError(f"The EncodingAESKey must have {ENCODING_AES_KEY_LENGTH} letters and digits")
    return _decode_base64(key + "=", "The EncodingAESKey")


class WechatCrypto:
    """Decrypts the pushes to one Official Account and encrypts the replies to them.

    :param str token: the webhook token
    :param str app_id: AppID of the account, which every message holds
    :param str encoding_aes_key: the present key
    :param previous_key: the previous key, which WeChat may still use for a while, or None
    :raise WechatCryptoError: if a key is malformed
    """

    def __init__(self, token, app_id, encoding_aes_key, previous_key=None):
        self._token = token
        self._app_id = app_id.encode()
        self._key = encoding_aes_key
        self._aes_keys = {key: check_encoding_aes_key(key) for key in (encoding_aes_key, previous_key) if key}

    def decrypt(self, encrypted, msg_signature, timestamp, nonce):
        """Authenticate and decrypt the Encrypt field of a push.

        :param str encrypted: text of the field
        :param msg_signature: from the URL, like timestamp and nonce
        :rtype: Decrypted
        :raise WechatSignatureError: if the signature is wrong
        :raise WechatCryptoError: if no key decrypts it, or it is for another account
        """
        if not verify(msg_signature, self._token, timestamp, nonce, encrypted):
            raise WechatSignatureError("The msg_signature is wrong")
        ciphertext = _decode_base64(encrypted, "The field Encrypt")
        if not ciphertext or len(ciphertext) % _BLOCK_SIZE:
            raise WechatCryptoError("The field Encrypt has an impossible length")
        for key, aes_key in self._aes_keys.items():
            plaintext = self._open(ciphertext, aes_key)
            if plaintext is not None:
                return Decrypted(plaintext, key)
        raise WechatCryptoError("Neither the EncodingAESKey nor the AppID of this account fits")

    def encrypt(self, plaintext, timestamp, nonce, key=None):
        """Encrypt and sign a reply.

        :param bytes plaintext: the reply's XML
        :param str timestamp: seconds since 1970; the nonce of the push may be used again
        :param str key: one of this account's keys, normally Decrypted.key; default: the present key
        :rtype: Encrypted
        """
        aes_key = self._aes_keys[key or self._key]
        length = struct.pack(">I", len(plaintext))
        message = secrets.token_bytes(_RANDOM_SIZE) + length + plaintext + self._app_id
        pad = _BLOCK_SIZE - len(message) % _BLOCK_SIZE
        encryptor = _cipher(aes_key).encryptor()
        ciphertext = encryptor.update(message + bytes([pad]) * pad) + encryptor.finalize()
        encrypted = base64.b64encode(ciphertext).decode()
        return Encrypted(encrypted, sign(self._token, timestamp, nonce, encrypted), timestamp, nonce)

    def _open(self, ciphertext, aes_key):
        """Return the decrypted message, or None if the key, the padding or the AppID does not fit."""
        decryptor = _cipher(aes_key).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        pad = padded[-1]
        if not 1 <= pad <= _BLOCK_SIZE or padded[-pad:] != bytes([pad]) * pad:
            return None
        message = padded[_RANDOM_SIZE:-pad]
        if len(message) < _LENGTH_SIZE:
            return None
        end = _LENGTH_SIZE + struct.unpack_from(">I", message)[0]
        # A length beyond the end leaves no AppID.
        return message[_LENGTH_SIZE:end] if message[end:] == self._app_id else None


def _cipher(aes_key):
    return Cipher(algorithms.AES(aes_key), modes.CBC(aes_key[:16]))


def _decode_base64(text, what):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:  # ValueError: not ASCII
        raise WechatCryptoError(f"{what} is not base64") from exc
