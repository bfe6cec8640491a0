// oidc-provider as an issuer of users, and of tokens for applications: `node idp.mjs PORT GATEWAY`. Users alice and bob log
// in with any password. It exchanges tokens and takes the word of the gateway, whose issuer is GATEWAY, about users and
// agents. `POST /rotate` gives it a new key. It prints its issuer once it listens.
import { createServer } from 'node:http';
import { randomBytes } from 'node:crypto';
import * as jose from 'jose';
import { errors, Provider } from 'oidc-provider';
import { addExchange } from './exchange.mjs';

const port = Number(process.argv[2]);
const gateway = process.argv[3];
const issuer = `http://127.0.0.1:${port}`;
const groups = { alice: ['developers'], bob: ['visitors'] };
const jwt = { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } };
// For the first of them the access tokens are whose user asks for no other.
const resources = {
  'https://agents.example.test': { scope: 'openid', ...jwt },
  'https://jwt.example.test': { scope: 'look', ...jwt },
  'https://opaque.example.test': { scope: 'look', accessTokenFormat: 'opaque' },
};

function resource(_ctx, id) {
  if (!(id in resources)) throw new errors.InvalidTarget('no such resource');
  return { ...resources[id], audience: id, accessTokenTTL: 120 };
}

const client = (id, more) => ({
  client_id: id,
  client_secret: id,
  grant_types: ['authorization_code', 'client_credentials'],
  redirect_uris: ['http://127.0.0.1/callback'],
  application_type: 'native',
  id_token_signed_response_alg: 'ES256',
  ...more,
});
// One that only exchanges, and one that only asks about tokens.
const machine = (id, ...grants) => client(id, { grant_types: grants, redirect_uris: [], response_types: [] });

async function key() {
  const { privateKey } = await jose.generateKeyPair('ES256', { extractable: true });
  const jwk = await jose.exportJWK(privateKey);
  return { ...jwk, alg: 'ES256', use: 'sig', kid: await jose.calculateJwkThumbprint(jwk) };
}

const cookies = { keys: [randomBytes(16).toString('hex')] };

/** The first key signs, the others are only published. */
function provider(keys) {
  const made = new Provider(issuer, {
    jwks: { keys },
    cookies,
    scopes: ['openid', 'look'],
    clients: [
      client('agent-a'),
      client('other-app'),
      machine('gateway', 'urn:ietf:params:oauth:grant-type:token-exchange'),
      machine('application'),
    ],
    claims: { openid: ['sub', 'groups'] },
    conformIdTokenClaims: false,
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, groups: groups[id] }) }),
    extraTokenClaims: (_ctx, token) => ({ groups: groups[token.accountId], ...token.extra }),
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_ctx, { clientId }) => ['gateway', 'application'].includes(clientId) },
      revocation: { enabled: true, allowedPolicy: (_ctx, { clientId }, token) => token.clientId === clientId },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => Object.keys(resources)[0],
        useGrantedResource: () => true,
        getResourceServerInfo: resource,
      },
    },
  });
  addExchange(made, (id) => resource(undefined, id), keys, { issuer: gateway, jwks: `${gateway}/oauth/jwks` });
  return made;
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
