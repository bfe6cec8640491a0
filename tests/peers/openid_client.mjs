// openid-client as an agent with a key of its own: `node openid_client.mjs RUN_FOLDER`.
//
// The agents are those of the quickstart, and one that it adds, with a key. The library is given the issuer and a
// credential; the rest it finds out. Its proofs at the token endpoint speak of no token: where the gateway wants that
// (`ath`), it is added by the hook that the library has for claims of one's own.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as jose from 'jose';
import * as client from 'openid-client';

const run = process.argv[2];
const quickstart = JSON.parse(readFileSync(join(run, 'quickstart.json'), 'utf8').split('\n')[0]);
const [us, others] = quickstart.agents;
const resource = quickstart.apps.find((app) => app.id === 'sandbox-http').url;
const repos = new URL(`${resource}/repos`);
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';

async function check(name, body) {
  try {
    await body();
    console.log(`ok openid-client: ${name}`);
  } catch (error) {
    console.error(error);
    console.log(`FAILED openid-client: ${name}: ${String(error.message).replaceAll('\n', ' ').slice(0, 500)}`);
  }
}

/** What the library sent and got, since the last `seen.length = 0`. */
const seen = [];
async function watched(url, options) {
  const answer = await fetch(url, options);
  seen.push({ status: answer.status, nonce: answer.headers.get('dpop-nonce') });
  return answer;
}

async function discovered(id, authentication) {
  const options = { execute: [client.allowInsecureRequests], algorithm: 'oauth2', [client.customFetch]: watched };
  return client.discovery(new URL(quickstart.issuer), id, undefined, authentication, options);
}

const bySecret = (agent) => discovered(agent.client_id, client.ClientSecretBasic(agent.client_secret));

function vestibule(...command) {
  const more = ['--output', 'json', '--dir', join(run, 'gateway')];
  return JSON.parse(execFileSync(process.env.VESTIBULE_BIN, [...command, ...more], { encoding: 'utf8' }));
}

/** Notes a token for the search through the recording. */
function note(token) {
  appendFileSync(join(run, 'tokens'), `${token}\n`);
  return token;
}

function noted(answer) {
  note(answer.access_token);
  return answer;
}

function challenged() {
  const [first, second] = seen;
  assert.equal(seen.length, 2, JSON.stringify(seen));
  assert.ok(first.nonce, 'the refusal has no nonce');
  assert.equal(second.status, 200, JSON.stringify(seen));
  return first.status;
}

/** The error that the library makes of a refusal. */
async function refusal(promise) {
  return promise.then(() => assert.fail('it was served'), (error) => error);
}

const sha256 = (text) => createHash('sha256').update(text).digest('base64url');

let config;
await check('finds the endpoints', async () => {
  config = await bySecret(us);
  const server = config.serverMetadata();
  assert.equal(server.issuer, quickstart.issuer);
  assert.ok(server.dpop_signing_alg_values_supported.includes('ES256'));
});

const keys = await client.randomDPoPKeyPair('ES256');
const DPoP = client.getDPoPHandle(config, keys);
let token;
await check('gets a token that is bound to its key, and deals with the nonce', async () => {
  seen.length = 0;
  token = noted(await client.clientCredentialsGrant(config, { resource }, { DPoP }));
  assert.equal(challenged(), 400);
  assert.equal(token.token_type, 'dpop');
  assert.equal(jose.decodeJwt(token.access_token).cnf.jkt, await DPoP.calculateThumbprint());
});

await check('gets one by private_key_jwt', async () => {
  const { privateKey, publicKey } = await jose.generateKeyPair('ES256', { extractable: true });
  const jwk = { ...(await jose.exportJWK(publicKey)), use: 'sig', alg: 'ES256', kid: 'node' };
  const file = join(run, 'node-jwks.json');
  writeFileSync(file, JSON.stringify({ keys: [jwk] }));
  vestibule('agent', 'add', 'node-key', '--group', 'sandbox-agents', '--trust', '1', '--jwks', file);
  const signing = await discovered('node-key', client.PrivateKeyJwt({ key: privateKey, kid: 'node' }));
  const handle = client.getDPoPHandle(signing, keys);
  const answer = noted(await client.clientCredentialsGrant(signing, { resource }, { DPoP: handle }));
  assert.equal(jose.decodeJwt(answer.access_token).client_id, 'node-key');
});

/** What the library signs as `Ed25519` (RFC 9864) the gateway knows as `EdDSA` only, and says so in its metadata. */
const renamed = {
  [client.modifyAssertion]: (header) => {
    if (header.alg === 'Ed25519') header.alg = 'EdDSA';
  },
};
for (const algorithm of ['ES384', 'Ed25519', 'PS256', 'RS256']) {
  await check(`proves a key for ${algorithm}`, async () => {
    const handle = client.getDPoPHandle(config, await client.randomDPoPKeyPair(algorithm), renamed);
    const answer = noted(await client.clientCredentialsGrant(config, { resource }, { DPoP: handle }));
    const got = await client.fetchProtectedResource(config, answer.access_token, repos, 'GET', null, undefined, {
      DPoP: handle,
    });
    assert.equal(got.status, 200);
  });
}

const call = (access, method = 'GET', body = null, handle = DPoP, url = repos) => {
  const headers = new Headers(body ? { 'content-type': 'application/json' } : {});
  return client.fetchProtectedResource(config, access, url, method, body, headers, handle && { DPoP: handle });
};

await check('calls an application that demands a nonce', async () => {
  // A handle that has seen no nonce yet, for the same key.
  const fresh = client.getDPoPHandle(config, keys);
  seen.length = 0;
  const answer = await call(token.access_token, 'GET', null, fresh);
  assert.equal(challenged(), 401);
  assert.match(await answer.text(), /hello-world/);
});
await check('calls with a body, and with a query', async () => {
  const created = await call(token.access_token, 'POST', JSON.stringify({ name: 'from-node' }));
  assert.equal(created.status, 201);
  const url = new URL(`${resource}/progress?seconds=1`);
  assert.match(await (await call(token.access_token, 'GET', null, DPoP, url)).text(), /"second":1/);
});
await check('is refused without a proof, and with that of another key', async () => {
  for (const handle of [null, client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))]) {
    const error = await refusal(call(token.access_token, 'GET', null, handle));
    assert.equal(error.code, 'OAUTH_WWW_AUTHENTICATE_CHALLENGE', error);
    assert.equal(error.status, 401);
  }
});

await check('exchanges the token of a user', async () => {
  const alice = note(vestibule('sandbox', 'user-token', 'alice', '--agent', us.client_id).id_token);
  const form = { subject_token: alice, subject_token_type: `${TOKEN_TYPE}id_token`, resource };
  const answer = noted(await client.genericGrantRequest(config, EXCHANGE, form, { DPoP }));
  assert.equal(answer.issued_token_type, `${TOKEN_TYPE}access_token`);
  const claims = jose.decodeJwt(answer.access_token);
  assert.deepEqual([claims.sub, claims.act.sub], ['alice', us.client_id]);
  assert.equal((await call(answer.access_token)).status, 200);
});

/** A handle whose proofs speak of a token. */
const about = (access) =>
  client.getDPoPHandle(config, keys, {
    [client.modifyAssertion]: (_header, payload) => {
      payload.ath = sha256(access);
    },
  });
await check('has its token minted again', async () => {
  const form = { subject_token: token.access_token, subject_token_type: `${TOKEN_TYPE}access_token` };
  const error = await refusal(client.genericGrantRequest(config, EXCHANGE, form, { DPoP }));
  assert.equal(error.error, 'invalid_dpop_proof', error);
  const handle = about(token.access_token);
  const again = noted(await client.genericGrantRequest(config, EXCHANGE, form, { DPoP: handle }));
  const [before, after] = [token, again].map((answer) => jose.decodeJwt(answer.access_token));
  assert.notEqual(after.jti, before.jti);
  assert.equal(after.vst.node, before.vst.node);
});

await check('spawns a child, whose token answers to its own key only', async () => {
  const childKeys = await client.randomDPoPKeyPair('ES256');
  const child = client.getDPoPHandle(config, childKeys);
  const thumbprint = await child.calculateThumbprint();
  const id = `urn:ietf:params:oauth:jwk-thumbprint:sha-256:${thumbprint}`;
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', childKeys.publicKey);
  const claims = { cnf: { jwk: { kty, crv, x, y } }, sth: sha256(token.access_token) };
  const actor = await new jose.SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', typ: 'vst-actor+jwt' })
    .setIssuer(id)
    .setSubject(id)
    .setAudience(quickstart.issuer)
    .setIssuedAt()
    .setExpirationTime('60s')
    .setJti(crypto.randomUUID())
    .sign(childKeys.privateKey);
  const form = {
    subject_token: token.access_token,
    subject_token_type: `${TOKEN_TYPE}access_token`,
    actor_token: actor,
    actor_token_type: `${TOKEN_TYPE}jwt`,
  };
  const handle = about(token.access_token);
  const spawned = noted(await client.genericGrantRequest(config, EXCHANGE, form, { DPoP: handle }));
  assert.equal(jose.decodeJwt(spawned.access_token).cnf.jkt, thumbprint);
  assert.equal((await call(spawned.access_token, 'GET', null, child)).status, 200);
  assert.equal((await refusal(call(spawned.access_token))).status, 401);
});

await check('introspects its token, and nobody else does', async () => {
  const answer = await client.tokenIntrospection(config, token.access_token);
  assert.equal(answer.active, true);
  assert.equal(answer.token_type, 'DPoP');
  assert.equal(answer.cnf.jkt, await DPoP.calculateThumbprint());
  assert.deepEqual([answer.client_id, answer.aud], [us.client_id, resource]);
  const stranger = await bySecret(others);
  assert.deepEqual({ ...(await client.tokenIntrospection(stranger, token.access_token)) }, { active: false });
});
await check('revokes its token: it is introspected as inactive, and the next call is refused', async () => {
  await client.tokenRevocation(config, token.access_token);
  assert.equal((await client.tokenIntrospection(config, token.access_token)).active, false);
  const error = await refusal(call(token.access_token));
  assert.equal(error.status, 401);
  assert.equal(error.cause[0].parameters.error, 'invalid_token', error);
  // RFC 7009 §2.2: what is no token any more is no error.
  await client.tokenRevocation(config, token.access_token);
  await client.tokenRevocation(config, 'made-up');
});
