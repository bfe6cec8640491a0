// oidc-provider as an issuer of users: `node idp.mjs PORT`. Users alice and bob log in with any password.
// `POST /rotate` gives it a new key. It prints its issuer once it listens.
import { createServer } from 'node:http';
import { randomBytes } from 'node:crypto';
import * as jose from 'jose';
import { Provider } from 'oidc-provider';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const groups = { alice: ['developers'], bob: ['visitors'] };
// The access tokens are for this resource, whatever was asked for.
const resource = 'https://agents.example.test';

const client = (id) => ({
  client_id: id,
  client_secret: id,
  grant_types: ['authorization_code', 'client_credentials'],
  redirect_uris: ['http://127.0.0.1/callback'],
  application_type: 'native',
  id_token_signed_response_alg: 'ES256',
});

async function key() {
  const { privateKey } = await jose.generateKeyPair('ES256', { extractable: true });
  const jwk = await jose.exportJWK(privateKey);
  return { ...jwk, alg: 'ES256', use: 'sig', kid: await jose.calculateJwkThumbprint(jwk) };
}

const cookies = { keys: [randomBytes(16).toString('hex')] };

/** The first key signs, the others are only published. */
function provider(keys) {
  return new Provider(issuer, {
    jwks: { keys },
    cookies,
    clients: [client('agent-a'), client('other-app')],
    claims: { openid: ['sub', 'groups'] },
    conformIdTokenClaims: false,
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, groups: groups[id] }) }),
    extraTokenClaims: (_ctx, token) => ({ groups: groups[token.accountId] }),
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resource,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'openid',
          audience: resource,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
}

let keys = [await key()];
let answer = provider(keys).callback();

async function serve(request, response) {
  if (request.method === 'POST' && request.url === '/rotate') {
    keys = [await key(), ...keys];
    answer = provider(keys).callback();
    response.writeHead(204).end();
    return;
  }
  answer(request, response);
}

createServer(serve).listen(port, '127.0.0.1', () => console.log(issuer));
