// An OpenID provider by others (zitadel/oidc with its example storage) that exchanges tokens (RFC 8693): for a user of
// its own, with an actor that another issuer has signed for, it gives a token with nested `act`.
//
//	zitadel PORT ACTORS_ISSUER ACTORS_JWKS
//
// ACTORS_ISSUER is whose word about actors it takes, by the keys at ACTORS_JWKS. It prints its issuer once it listens.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"golang.org/x/text/language"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// jwtClient gets JSON web tokens.
type jwtClient struct{ op.Client }

func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

// users has one: alice.
type users struct{ alice *storage.User }

func newUsers() users {
	return users{&storage.User{
		ID: "alice", Username: "alice", Password: "any", FirstName: "Alice", LastName: "Example",
		Email: "alice@example.test", EmailVerified: true, PreferredLanguage: language.English,
	}}
}

func (u users) GetUserByID(id string) *storage.User {
	if id != u.alice.ID {
		return nil
	}
	return u.alice
}

func (u users) GetUserByUsername(name string) *storage.User { return u.GetUserByID(name) }

func (users) ExampleClientID() string { return "service" }

type store struct {
	*storage.Storage
	actors        oidc.KeySet
	actorsIssuer  string
	ownIdentifier string
}

func (s store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	client, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return jwtClient{client}, nil
}

// VerifyExchangeSubjectToken is asked about tokens that are not the provider's own: there are none.
func (s store) VerifyExchangeSubjectToken(context.Context, string, oidc.TokenType) (string, string, map[string]any, error) {
	return "", "", nil, errors.New("a subject token of another issuer")
}

// VerifyExchangeActorToken takes the word of the one issuer of actors.
func (s store) VerifyExchangeActorToken(ctx context.Context, token string, kind oidc.TokenType) (string, string, map[string]any, error) {
	if kind != oidc.JWTTokenType {
		return "", "", nil, fmt.Errorf("an actor token of type %q", kind)
	}
	var claims oidc.TokenClaims
	payload, err := oidc.ParseToken(token, &claims)
	if err != nil {
		return "", "", nil, err
	}
	err = errors.Join(
		oidc.CheckIssuer(&claims, s.actorsIssuer),
		oidc.CheckAudience(&claims, s.ownIdentifier),
		oidc.CheckExpiration(&claims, 0),
		oidc.CheckSignature(ctx, token, payload, &claims, []string{"ES256"}, s.actors),
	)
	return token, claims.Subject, map[string]any{"iss": claims.Issuer}, err
}

// GetPrivateClaimsFromTokenExchangeRequest names the actors, RFC 8693 section 4.1: the newest outside, and within it
// those whom the subject token names.
func (s store) GetPrivateClaimsFromTokenExchangeRequest(ctx context.Context, request op.TokenExchangeRequest) (map[string]any, error) {
	claims, err := s.Storage.GetPrivateClaimsFromTokenExchangeRequest(ctx, request)
	if err != nil || request.GetExchangeActor() == "" {
		return claims, err
	}
	act := map[string]any{"sub": request.GetExchangeActor(), "iss": s.actorsIssuer}
	if earlier, ok := request.GetExchangeSubjectTokenClaims()["act"]; ok {
		act["act"] = earlier
	}
	if claims == nil {
		claims = map[string]any{}
	}
	claims["act"] = act
	return claims, nil
}

func main() {
	port, actorsIssuer, jwks := os.Args[1], os.Args[2], os.Args[3]
	issuer := fmt.Sprintf("http://127.0.0.1:%s/", port)
	storage.RegisterClients(
		storage.WebClient("agent-a", "agent-a", "http://127.0.0.1/callback"),
		storage.WebClient("gateway", "gateway", "http://127.0.0.1/callback"),
	)
	s := store{storage.NewStorage(newUsers()), rp.NewRemoteKeySet(http.DefaultClient, jwks), actorsIssuer, issuer}
	var _ op.TokenExchangeTokensVerifierStorage = s
	handler := exampleop.SetupServer(issuer, s, slog.New(slog.NewTextHandler(os.Stderr, nil)), false)
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		slog.Error("cannot listen", "err", err)
		os.Exit(1)
	}
	fmt.Println(issuer)
	slog.Error("stopped", "err", http.Serve(listener, handler))
}
