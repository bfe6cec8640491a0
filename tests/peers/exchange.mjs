// Token exchange (RFC 8693) for oidc-provider, which has none of its own. The token that comes out names, in `act`, whoever
// acts, and within it those who acted before.
import * as jose from 'jose';
import { errors } from 'oidc-provider';

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const PARAMETERS = ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type',
  'resource', 'scope'];

/**
 * Adds the grant. `resource` says what a resource is about, `keys` are the provider's own, `believed` is the issuer whose
 * word about users and agents is taken: { issuer, jwks }.
 */
export function addExchange(provider, resource, keys, believed) {
  const theirs = jose.createRemoteJWKSet(new URL(believed.jwks), { cooldownDuration: 0 });

  /** What the other issuer says, to this provider and now. `name` is the parameter. */
  async function word(name, token) {
    const expected = { issuer: believed.issuer, audience: provider.issuer, requiredClaims: ['sub', 'exp', 'jti'] };
    try {
      return (await jose.jwtVerify(token, theirs, expected)).payload;
    } catch {
      throw invalid(name);
    }
  }

  /** What a token of the provider's own says. */
  async function own(token) {
    const kept = await provider.AccessToken.find(token);
    if (kept) return { sub: kept.accountId, act: kept.extra?.act };
    try {
      const set = jose.createLocalJWKSet({ keys: keys.map(({ d, ...open }) => open) });
      return (await jose.jwtVerify(token, set, { issuer: provider.issuer, typ: 'at+jwt' })).payload;
    } catch {
      throw invalid('subject_token');
    }
  }

  async function subject({ subject_token: token, subject_token_type: type }) {
    if (type === ACCESS_TOKEN) return own(token);
    if (type === JWT) return word('subject_token', token);
    throw new errors.InvalidRequest('subject_token_type is missing, or of no use');
  }

  async function actor({ actor_token: token, actor_token_type: type }) {
    if (token === undefined && type === undefined) return undefined;
    if (type !== JWT) throw new errors.InvalidRequest('actor_token_type is missing, or of no use');
    const { iss, sub } = await word('actor_token', token);
    return { iss, sub };
  }

  provider.registerGrantType(GRANT, async (ctx) => {
    const { params, client } = ctx.oidc;
    const from = await subject(params);
    const by = await actor(params);
    const server = new provider.ResourceServer(params.resource, resource(params.resource));
    const scopes = (params.scope ?? '').split(' ').filter(Boolean);
    if (!scopes.every((scope) => server.scopes.has(scope))) throw new errors.InvalidScope('not of that resource');

    // A token is given back with all of its grant: each has one of its own.
    const grant = new provider.Grant({ accountId: from.sub, clientId: client.clientId });
    const token = new provider.AccessToken({
      client, accountId: from.sub, grantId: await grant.save(), gty: 'token-exchange', scope: scopes.join(' ') || undefined,
    });
    token.resourceServer = server;
    const before = from.act && { act: from.act };
    const act = by ? { ...by, ...before } : from.act;
    token.extra = act && { act };
    ctx.oidc.entity('AccessToken', token);
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: ACCESS_TOKEN,
      token_type: 'Bearer',
      expires_in: token.expiration,
      scope: token.scope,
    };
  }, PARAMETERS);
}

/**
 * RFC 8693 §2.2.2: if a token is invalid, "the value of the `error` parameter MUST be the `invalid_request` error code".
 */
function invalid(name) {
  return new errors.InvalidRequest(`${name} is invalid`);
}
