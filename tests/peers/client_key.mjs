// Makes the key pair of a client: `node client_key.mjs PRIVATE_PEM PUBLIC_JWKS`. P-256, for ES256 (RFC 7518 §3.4).
import { writeFileSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';

const [, , pem, jwks] = process.argv;
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
writeFileSync(pem, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600, flag: 'wx' });
const jwk = { ...publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'peer' };
writeFileSync(jwks, JSON.stringify({ keys: [jwk] }));
