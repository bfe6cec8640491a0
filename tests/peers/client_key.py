"""Makes the key pair of an agent: `client_key.py PRIVATE_PEM PUBLIC_JWKS`. P-256, for ES256 (RFC 7518 §3.4)."""

import json
import os
import sys

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm

key = ec.generate_private_key(ec.SECP256R1())
with open(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
    file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
with open(sys.argv[2], "w", encoding="utf-8") as file:
    jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"use": "sig", "alg": "ES256", "kid": "peer"}
    json.dump({"keys": [jwk]}, file)
