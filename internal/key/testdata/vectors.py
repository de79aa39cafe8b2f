#!/usr/bin/env python3
"""Writes vectors.tsv: keys computed without any of this repository's code (zlib.crc32, hashlib.sha256).

Columns: word, environment, body, key, SHA-256 of the key, and what is published of it for an organization with the id
ID and for a key brought to the namespace NAMESPACE. Run by hand; the result is checked in.
"""
import hashlib
import random
import zlib

ID = "0ac3e000-0000-4000-8000-000000000000"
NAMESPACE = "acme"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(n: int) -> str:
    digits = ""
    while n:
        n, d = divmod(n, 62)
        digits = ALPHABET[d] + digits
    return digits.rjust(6, "0")


def bound(key: str, owner: str) -> str:
    digest = hashlib.sha256(key.encode()).digest()
    return f"bound:{digest[:16].hex()}:{hashlib.sha256(digest[16:] + owner.encode()).hexdigest()[:32]}"


def vector(word: str, env: str, body: str) -> str:
    head = f"{word}_{env}_{body}"
    key = head + base62(zlib.crc32(head.encode()))
    return "\t".join([word, env, body, key, hashlib.sha256(key.encode()).hexdigest(),
                      bound(key, "id:" + ID), bound(key, "ns:" + NAMESPACE)])


def padded(word: str, env: str, zeros: int, rng: random.Random) -> str:
    """A body whose checksum begins with that many zeros: padding is where implementations differ."""
    while True:
        body = "".join(rng.choices(ALPHABET, k=32))
        if base62(zlib.crc32(f"{word}_{env}_{body}".encode())).startswith("0" * zeros):
            return body


rng = random.Random(20260101)
lines = ["# word\tenvironment\tbody\tkey\tsha256\tid\tnamespace"]
for env in ("live", "test"):
    lines.append(vector("lmp", env, "0" * 32))
    lines.append(vector("lmp", env, "z" * 32))
    lines.append(vector("lmp", env, ALPHABET[:32]))
    lines.append(vector("lmp", env, ALPHABET[-32:]))
    for _ in range(4):
        lines.append(vector("lmp", env, "".join(rng.choices(ALPHABET, k=32))))
    for zeros in (1, 2, 3):
        lines.append(vector("lmp", env, padded("lmp", env, zeros, rng)))
    for word in ("a", "Z9", "acmepublishing16"):
        lines.append(vector(word, env, "".join(rng.choices(ALPHABET, k=32))))
with open("vectors.tsv", "w", encoding="ascii") as f:
    f.write("\n".join(lines) + "\n")
