"""Signatures and message encryption of WeChat's event pushes (消息加解密说明), written from the published description.

This module imports nothing of the sandbox, so that it can be checked alone against WeChat's published vectors.
"""

import base64
import binascii
import hashlib
import secrets
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

# WeChat pads to multiples of 32 bytes, not to AES's own block of 16.
PAD_BLOCK = 32
RANDOM_PREFIX = 16


class CryptoError(Exception):
    """An envelope that WeChat would not accept: bad base64, bad padding, bad length or a foreign app id."""


def signature(*parts: str) -> str:
    """Return the hex SHA-1 of the sorted, joined parts.

    With (token, timestamp, nonce) it is the `signature` of a URL; with the Encrypt text too, the `msg_signature`.
    """
    return hashlib.sha1("".join(sorted(parts)).encode(), usedforsecurity=False).hexdigest()


def aes_key(encoding_aes_key: str) -> bytes:
    """Decode the 43 characters of an EncodingAESKey to the 32 bytes of the AES key.

    :raises CryptoError: when it is no such key
    """
    try:
        key = base64.b64decode(encoding_aes_key + "=", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CryptoError("EncodingAESKey is not base64") from error
    if len(encoding_aes_key) != 43 or len(key) != 32:
        raise CryptoError("EncodingAESKey must have 43 characters")
    return key


def encrypt(message: bytes, key: bytes, app_id: str, random: bytes | None = None) -> str:
    """Encrypt a message for `app_id`: base64 of AES-256-CBC over random(16) + length + message + app id.

    :param random: the 16 bytes in front; given only to reproduce published vectors
    """
    random = random or secrets.token_hex(RANDOM_PREFIX // 2).encode()
    plain = random + struct.pack(">I", len(message)) + message + app_id.encode()
    pad = PAD_BLOCK - len(plain) % PAD_BLOCK
    plain += bytes([pad]) * pad
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode()


def decrypt(encrypted: str, key: bytes, app_id: str) -> bytes:
    """Return the message in an Encrypt text.

    :raises CryptoError: when base64, padding, length or app id are wrong
    """
    try:
        data = base64.b64decode(encrypted, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CryptoError("Encrypt is not base64") from error
    if not data or len(data) % PAD_BLOCK:
        raise CryptoError(f"Encrypt is no multiple of {PAD_BLOCK} bytes")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    plain = decryptor.update(data) + decryptor.finalize()
    pad = plain[-1]
    if not 1 <= pad <= PAD_BLOCK or plain[-pad:] != bytes([pad]) * pad:
        raise CryptoError("padding is wrong: wrong key?")
    plain = plain[:-pad]
    if len(plain) < RANDOM_PREFIX + 4:
        raise CryptoError("message is too short")
    (length,) = struct.unpack(">I", plain[RANDOM_PREFIX : RANDOM_PREFIX + 4])
    start = RANDOM_PREFIX + 4
    if len(plain) < start + length:
        raise CryptoError("length does not fit the message")
    if plain[start + length :] != app_id.encode():
        raise CryptoError("the message is for another app id")
    return plain[start : start + length]
