"""Hashes of passwords that cost a tenth of a millisecond to check, where real ones cost fifty."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

# A configuration of OpenSSL that allows only what FIPS 140 does, which Argon2id is not part of.
FIPS_MODE = """
openssl_conf = init
[init]
alg_section = algorithms
[algorithms]
default_properties = fips=yes
"""


def cheap_hash(password: str, iterations: int = 1, memory_kib: int = 8) -> str:
    """Return a hash as `headgate config hash-password` prints it, but of other parameters."""
    salt = os.urandom(16)
    how = Argon2id(salt=salt, length=32, iterations=iterations, lanes=1, memory_cost=memory_kib)
    return how.derive_phc_encoded(password.encode())


def is_of(password: str, stored: str) -> bool:
    """Return whether a hash is that of a password."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), stored)
    except InvalidKey:
        return False
    return True
