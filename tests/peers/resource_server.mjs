// Applications that believe issuers by others: `node resource_server.mjs LOG`, with the issuers in the environment. `GET
// /APP/look` is answered if the bearer token is good, with its claims. LOG has a JSON object a line for each request:
// app, token, and claims or refused. It prints `{"url": "http://127.0.0.1:PORT"}` once it accepts.
import { createServer } from 'node:http';
import { appendFileSync } from 'node:fs';
import * as jose from 'jose';

const log = process.argv[2];
const { OIDC_PROVIDER_ISSUER, ZITADEL_ISSUER, KEYCLOAK_ISSUER } = process.env;

/** By asking the issuer (RFC 7662). */
function introspected(issuer, audience) {
  const authorization = `Basic ${btoa('application:application')}`;
  return async (token) => {
    const body = new URLSearchParams({ token });
    const answer = await fetch(`${issuer}/token/introspection`, { method: 'POST', headers: { authorization }, body });
    const claims = await answer.json();
    if (!claims.active) throw new Error('it is not active');
    if (claims.aud !== audience) throw new Error('it is for somebody else');
    return claims;
  };
}

/** By the issuer's keys. */
function verified(issuer, jwks, audience) {
  const keys = jose.createRemoteJWKSet(new URL(jwks), { cooldownDuration: 0 });
  return async (token) => (await jose.jwtVerify(token, keys, { issuer, audience })).payload;
}

const jwks = { op: `${OIDC_PROVIDER_ISSUER}/jwks`, keycloak: `${KEYCLOAK_ISSUER}/protocol/openid-connect/certs` };
const keycloak = verified(KEYCLOAK_ISSUER, jwks.keycloak, 'orders');
const apps = {
  'op-opaque': introspected(OIDC_PROVIDER_ISSUER, 'https://opaque.example.test'),
  'op-jwt': verified(OIDC_PROVIDER_ISSUER, jwks.op, 'https://jwt.example.test'),
  'op-word': verified(OIDC_PROVIDER_ISSUER, jwks.op, 'https://jwt.example.test'),
  zitadel: verified(ZITADEL_ISSUER, `${ZITADEL_ISSUER}keys`, 'orders'),
  'keycloak-own': keycloak,
  'keycloak-user': keycloak,
  'keycloak-actor': keycloak,
  'keycloak-word': keycloak,
};

async function serve(request, response) {
  const app = request.url.split('/')[1];
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  let status = 200;
  const found = { app, token };
  try {
    found.claims = await apps[app](token);
  } catch (error) {
    found.refused = error.message;
    status = 401;
  }
  appendFileSync(log, `${JSON.stringify(found)}\n`);
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(found.claims ?? {}));
}

const server = createServer(serve);
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
