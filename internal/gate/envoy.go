// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	lru "github.com/hashicorp/golang-lru/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/letmepost/letmepost-operator/internal/caller"
)

// Envoy answers the questions of Envoy's filter ext_authz, version 3, over gRPC. What a route demands stands in its
// context_extensions. Nothing is read of a request but its headers.
//
// Of a gate that can't say who may pass, the answer is an ErrorResponse: the proxy's failure_mode_allow decides, which
// is to be off. An Envoy that is too old to know it takes it for a denial: nobody passes either.
type Envoy struct {
	authv3.UnimplementedAuthorizationServer
	*Gate

	// passes are answers that let somebody pass, by who it is: each is some sixty pieces of memory, and stays as it is.
	// None lets anybody in by itself: it is looked for after the key was admitted, so one of a revoked key does no harm
	// until others push it out. gRPC may be writing one several times at once, so nobody may change it.
	passes *lru.Cache[[len(identityNames)]string, *authv3.CheckResponse]
}

// maxPasses is how many of them are kept, at some 4 KB each, and 8 KB with as many scopes and claims as there may be.
// Those used last stay. One that has been pushed out costs no more than to be made again.
const maxPasses = 4096

// NewEnvoy returns an Envoy that answers as a Gate does.
func NewEnvoy(g *Gate) Envoy {
	passes, err := lru.New[[len(identityNames)]string, *authv3.CheckResponse](maxPasses)
	if err != nil {
		panic(err) // it has a size
	}
	return Envoy{Gate: g, passes: passes}
}

// Check answers one question. Its error is always nil. Whatever is wrong is an answer, too, which has a status and a
// body for the client; of an error of gRPC, Envoy would make what its configuration says.
func (e Envoy) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	attributes := r.GetAttributes()
	q := e.questionOf(DemandOf(attributes.GetContextExtensions()))
	if q.err != nil {
		return e.refuse(replyToQuestion(q.err)), nil
	}
	authorization, brings := headersOf(attributes.GetRequest().GetHttp())
	if brings {
		return e.refuse(bringing), nil
	}
	who, refused := e.ask(ctx, &q, authorization)
	if refused != nil {
		return e.refuse(*refused), nil
	}
	// The claims are in who as well, as the text of their header: so they need not be part of what an answer is found by.
	e.answers.count(overGRPC, allowed)
	return e.pass(identity(who), who.Claims), nil
}

// pass is the answer that lets somebody pass. Two questions may make the same one at once: both are good, and
// the later is kept.
func (e Envoy) pass(who [len(identityNames)]string, claims caller.Claims) *authv3.CheckResponse {
	if known, ok := e.passes.Get(who); ok {
		return known
	}
	made := &authv3.CheckResponse{
		Status:          &statuspb.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: admittedAs(who)},
		DynamicMetadata: metadata(who, claims),
	}
	e.passes.Add(who, made)
	return made
}

// headersOf returns the values of Authorization, and whether there is a header that only a gate may set. Envoy has the
// headers in a map, in which values of one name are joined with commas; or, with encode_raw_headers, in a list. Both
// are looked at, whichever is filled in: a header in the one that is not read would pass unseen. Several values of
// Authorization are no key (package admission).
func headersOf(r *authv3.AttributeContext_HttpRequest) (authorization []string, brings bool) {
	for name, value := range r.GetHeaders() {
		brings = brings || isIdentity(name)
		if strings.EqualFold(name, "authorization") {
			authorization = append(authorization, value)
		}
	}
	for _, header := range r.GetHeaderMap().GetHeaders() {
		brings = brings || isIdentity(header.GetKey())
		if !strings.EqualFold(header.GetKey(), "authorization") {
			continue
		}
		if raw := header.GetRawValue(); len(raw) > 0 {
			authorization = append(authorization, string(raw))
		} else {
			authorization = append(authorization, header.GetValue())
		}
	}
	return authorization, brings
}

// setting is a header that takes the place of one that is there. The action is named because its zero value
// would append to what a client has sent.
func setting(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// twins are the names of identity headers with underscores, in which a client's would survive a proxy that was told to
// show the gate a part of the headers only.
var twins = func() (names []string) {
	for _, name := range IdentityHeaders {
		names = append(names, strings.ReplaceAll(strings.ToLower(name), "-", "_"))
	}
	return names
}()

// admittedAs tells the service who it is. A header that is empty is removed: Envoy does not say what becomes of one
// that is set so. Each header of IdentityHeaders is either set or removed, so that nothing that a client sends under
// these names reaches the service, even if the proxy showed the gate none of it.
func admittedAs(who [len(identityNames)]string) *authv3.OkHttpResponse {
	ok := &authv3.OkHttpResponse{
		Headers:         make([]*corev3.HeaderValueOption, 0, len(identityNames)),
		HeadersToRemove: append(make([]string, 0, 2*len(IdentityHeaders)), twins...),
	}
	ok.HeadersToRemove = append(ok.HeadersToRemove, headerRefused)
	for i, value := range who {
		if value == "" {
			ok.HeadersToRemove = append(ok.HeadersToRemove, identityNames[i])
		} else {
			ok.Headers = append(ok.Headers, setting(identityNames[i], value))
		}
	}
	return ok
}

// metadata is who it is for other filters of the proxy, such as one that limits rates or writes a log. Claims are a
// struct there, which filters find their way in. Envoy puts it under the name of its filter. docs/guard.md
// promises the names.
func metadata(who [len(identityNames)]string, claims caller.Claims) *structpb.Struct {
	fields := make(map[string]*structpb.Value, len(identityNames))
	for i, value := range who {
		if value != "" {
			fields[metadataNames[i]] = structpb.NewStringValue(value)
		}
	}
	if claims != (caller.Claims{}) {
		each := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for name, value := range claims.All() {
			each.Fields[name] = structpb.NewStringValue(value)
		}
		fields[claimsField] = structpb.NewStructValue(each)
	}
	return &structpb.Struct{Fields: fields}
}

// claimsField is also what metadataNames makes of the header of claims: the struct takes the place of that header's
// text.
const claimsField = "claims"

// metadataNames are the names of the headers without their beginning, as in X-Letmepost-Key-Id: key_id.
var metadataNames = func() (names [len(identityNames)]string) {
	for i, name := range identityNames {
		names[i] = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, identityPrefix)), "-", "_")
	}
	return names
}()

// grpcCodes are what refusals are called in gRPC, by their status in HTTP.
var grpcCodes = map[int]codes.Code{
	400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.NotFound,
	429: codes.ResourceExhausted, 503: codes.Unavailable,
}

// grpcCode is never OK, which is the zero value and all that Envoy looks at: a status that nobody has thought of must
// not let the request pass.
func grpcCode(status int) codes.Code {
	if code, known := grpcCodes[status]; known {
		return code
	}
	return codes.PermissionDenied
}

// refuse is the answer that keeps a request out, or tells Envoy that nobody can say. It names nobody, neither in
// headers nor in metadata: both would be for a service, which a refused request never reaches. The headers of the
// reply are the client's.
func (e Envoy) refuse(p reply) *authv3.CheckResponse {
	e.answers.count(overGRPC, p.code)
	denied := &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(p.status)}, Body: p.body(),
	}
	p.headers(func(name, value string) { denied.Headers = append(denied.Headers, setting(name, value)) })
	response := &authv3.CheckResponse{
		Status:       &statuspb.Status{Code: int32(grpcCode(p.status)), Message: p.code},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
	}
	if p.code == unavailable.code {
		response.HttpResponse = &authv3.CheckResponse_ErrorResponse{ErrorResponse: denied}
	}
	return response
}
