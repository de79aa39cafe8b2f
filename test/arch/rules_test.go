// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

// clusterClients are the parts of client-go that talk to an apiserver, or keep what it said.
var clusterClients = []string{
	clientGo + "/discovery", clientGo + "/dynamic", clientGo + "/informers", clientGo + "/kubernetes", clientGo + "/listers",
	clientGo + "/metadata", clientGo + "/rest", clientGo + "/restmapper", clientGo + "/scale", clientGo + "/tools",
	clientGo + "/transport",
}

var rules = []rule{
	{
		room: "api", reason: "the contract with users stands on nothing of ours, and brings nobody a framework",
		never:   []string{module + "/internal", module + "/cmd"},
		nowhere: []string{controller, clientGo},
	},
	{
		room: "internal/key", reason: "the format is older than any library: whoever reads it must need nothing else",
		onlyStd: true,
		never:   []string{"net", "os", "time", "log", "crypto/rand", "math/rand", "math/rand/v2"},
	},
	{
		room: "internal/lifecycle", reason: "it is pure: what it decides depends on its arguments alone",
		never:   []string{"os", "net", "net/http", "io", "log", "log/slog", "context", "sync", "math/rand", "math/rand/v2", "crypto/rand", coreTypes},
		nowhere: []string{clientGo, controller},
	},
	{
		room: "internal/keysecret", reason: "an encoding talks to no cluster",
		never:   []string{"os", "net", "net/http", "log", "log/slog", "context"},
		nowhere: []string{clientGo, controller, module + "/internal/authn", module + "/internal/controller"},
	},
	{
		room: "internal/authn", reason: "the verifier shares no code with the controller but the four rooms of truth, and sees no Secret",
		never:   []string{"net/http", "os", coreTypes},
		nowhere: []string{controller, module + "/internal/controller", module + "/internal/keysecret", module + "/internal/httpapi"},
	},
	{
		room: "internal/controller", reason: "a controller that answered requests would be up and down with them",
		nowhere: []string{module + "/internal/authn", module + "/internal/httpapi", module + "/internal/serve", module + "/internal/dashboard"},
	},
	{
		room: "internal/caller", reason: "every room above admission knows a Caller, so it leans on none of them, and on no cluster",
		never: []string{"net/http", "context", "os"},
		nowhere: []string{
			clientGo, controller, module + "/internal/authn", module + "/internal/admission", module + "/internal/store",
		},
	},
	{
		room: "internal/rate", reason: "an algorithm on a word of memory needs nothing", onlyStd: true,
		never: []string{"net/http", "os", "context"},
	},
	{
		room: "internal/problem", reason: "words for people and programs, whatever carries them", onlyStd: true,
		never: []string{"net/http", "os", "context", "log/slog"},
	},
	{
		room: "internal/wire", reason: "how bodies are written does not depend on what they say, and to whom",
		never: []string{"os", "context", "log/slog"},
		nowhere: []string{
			clientGo, controller, module + "/internal/caller", module + "/internal/endpoint", module + "/internal/leak",
		},
	},
	{
		room: "internal/retry", reason: "how to try again does not depend on what is tried", onlyStd: true,
		never: []string{"net/http", "os", "log", "log/slog"},
	},
	{
		room: "internal/turns", reason: "whose turn it is does not depend on what is waited for", onlyStd: true,
		never: []string{"context", "net/http", "os", "log", "log/slog"},
	},
	{
		room: "internal/admission", reason: "who may do what is the same for a route, a proxy's question and a page",
		never: []string{"net/http", "os", clientGo, coreTypes},
		nowhere: []string{
			controller, module + "/internal/endpoint", module + "/internal/httpapi", module + "/internal/store",
			module + "/internal/publish", module + "/internal/posting",
		},
	},
	{
		room: "internal/dashboard", reason: "a page acts with a person's credential alone, and never sees a key that is stored",
		never:   []string{"os", clientGo + "/kubernetes", clientGo + "/rest"},
		nowhere: []string{controller, module + "/internal/controller", module + "/internal/keysecret"},
	},
	{
		room: "internal/session", reason: "who is signed in has their own credential, and nothing of a Secret or a page",
		never: []string{"os"},
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/keysecret", module + "/internal/endpoint",
			module + "/internal/httpapi", module + "/internal/dashboard", module + "/internal/posting",
		},
	},
	{
		room: "internal/oidc", reason: "a provider says who somebody is to it; what they may, and their session, is not its to know",
		never: []string{"os", clientGo, coreTypes},
		nowhere: []string{
			clientGo, controller, module + "/internal/authn", module + "/internal/admission", module + "/internal/store",
			module + "/internal/session", module + "/internal/endpoint", module + "/internal/dashboard",
		},
	},
	{
		room: "internal/write", reason: "a write is claimed, committed and answered in one order, whoever asks for it and how",
		never: []string{"net/http", clientGo, coreTypes},
		nowhere: []string{
			controller, module + "/internal/admission", module + "/internal/endpoint", module + "/internal/httpapi",
			module + "/internal/publish", module + "/internal/posting",
		},
	},
	{
		room: "internal/posting", reason: "a form and a job make posts as a route does",
		never: []string{"net/http", clientGo, coreTypes, module + "/internal/authn"},
		nowhere: []string{
			controller, module + "/internal/admission", module + "/internal/endpoint", module + "/internal/httpapi",
		},
	},
	{
		room: "internal/connecting", reason: "a form connects accounts as a route does",
		never: []string{"net/http", clientGo, coreTypes, module + "/internal/authn", module + "/internal/vault"},
		nowhere: []string{
			controller, module + "/internal/admission", module + "/internal/endpoint", module + "/internal/httpapi",
		},
	},
	{
		room: "internal/endpoint", reason: "what an endpoint is does not depend on which there are",
		never: []string{
			clientGo, controller, coreTypes, "os", module + "/internal/authn",
			module + "/internal/platform", module + "/internal/media",
		},
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/keysecret", module + "/internal/httpapi",
			module + "/internal/publish", module + "/internal/posting",
		},
	},
	{
		room: "internal/httpapi", reason: "the HTTP contract knows Callers and read models, not how a cluster is watched",
		never:   []string{clientGo, controller, coreTypes, "k8s.io/apimachinery/pkg/apis", "os"},
		nowhere: []string{controller, module + "/internal/controller", module + "/internal/keysecret"},
	},
	{
		room: "internal/store", reason: "rows know whose they are, and neither how they are asked for nor what they are published by",
		never: []string{"net/http", clientGo, coreTypes},
		nowhere: []string{
			controller, clientGo, module + "/internal/controller", module + "/internal/authn", module + "/internal/admission",
			module + "/internal/endpoint", module + "/internal/httpapi", module + "/internal/publish", module + "/internal/use",
		},
	},
	{
		// Of client-go, util/workqueue alone is for it: a queue that knows no cluster.
		room: "internal/publish", reason: "posts go out whether or not anybody is asking, and without a cluster",
		never: append([]string{"net/http"}, clusterClients...),
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/authn", module + "/internal/posting",
			module + "/internal/endpoint", module + "/internal/httpapi",
		},
	},
	{
		room: "internal/platform", reason: "a platform knows contents and accounts, and not who asked",
		nowhere: []string{
			clientGo, controller, module + "/internal/authn", module + "/internal/caller", module + "/internal/store",
			module + "/internal/publish", module + "/internal/endpoint", module + "/internal/httpapi",
		},
	},
	{
		room: "internal/outbound", reason: "it guards the network for all that ask by others' addresses, and knows none of them", onlyStd: true,
	},
	{
		room: "cmd/api", reason: "Bluesky's records are plain JSON: its generated types would bring half of IPFS",
		nowhere: []string{"github.com/ipfs", "github.com/whyrusleeping", "github.com/multiformats"},
	},
	{
		room: "internal/media", reason: "files are bytes under keys; whose they are is the store's to know",
		nowhere: []string{clientGo, controller, module + "/internal/authn", module + "/internal/store", module + "/internal/httpapi"},
	},
	{
		room: "internal/connection", reason: "accounts are kept connected whether or not anybody is asking, and without a cluster",
		never: append([]string{"net/http"}, clusterClients...),
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/authn", module + "/internal/publish",
			module + "/internal/posting", module + "/internal/endpoint", module + "/internal/httpapi",
		},
	},
	{
		room: "internal/github", reason: "who has found a key shows the key itself: no more of anything is needed to report it",
		never: []string{"os", clientGo, coreTypes},
		nowhere: []string{
			controller, clientGo, module + "/internal/authn", module + "/internal/admission", module + "/internal/store",
			module + "/internal/endpoint", module + "/internal/httpapi",
		},
	},
	{
		room: "internal/docs", reason: "pages are texts: whoever may see them is everybody",
		never: []string{"os", clientGo, coreTypes},
		nowhere: []string{
			controller, clientGo, module + "/internal/authn", module + "/internal/admission", module + "/internal/store",
			module + "/internal/endpoint", module + "/internal/httpapi",
		},
	},
	{
		room: "internal/use", reason: "what keys are used for is written down and asked whatever asks, and how",
		never: append([]string{"net/http"}, clusterClients...),
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/admission", module + "/internal/endpoint",
			module + "/internal/httpapi", module + "/internal/publish",
		},
	},
	{
		room: "internal/vault", reason: "it seals texts for names; whose account that is, and where it stands, is not its to know",
		never: []string{"net", "net/http", coreTypes},
		nowhere: []string{
			clientGo, controller, module + "/internal/authn", module + "/internal/store", module + "/internal/platform",
			module + "/internal/httpapi",
		},
	},
	{
		room: "internal/process", reason: "what both processes are alike in knows neither of them",
		never:   []string{module + "/internal", module + "/cmd", module + "/api"},
		nowhere: []string{clientGo, controller},
	},
	{
		room: "internal/limit", reason: "a limit knows a caller and a rate, and not what is asked for",
		never: []string{clientGo},
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/authn", module + "/internal/httpapi",
			module + "/internal/store",
		},
	},
	{
		room: "internal/serve", reason: "listeners and drain order are the same whatever is served",
		never:   []string{clientGo, controller, "k8s.io/api", module + "/api"},
		nowhere: []string{module + "/internal/authn", module + "/internal/controller", module + "/internal/httpapi"},
	},
	{
		room: "internal/revocation", reason: "both ends of the barrier use it, so it can lean on neither",
		nowhere: []string{module + "/internal/authn", module + "/internal/controller", module + "/internal/httpapi", controller},
	},
	{
		room: "cmd/api", reason: "the process that faces the network must not even contain the code that handles Secrets",
		nowhere: []string{module + "/internal/controller", module + "/internal/keysecret", controller},
	},
	{
		room: "cmd/gate", reason: "the process that proxies ask publishes nothing, stores nothing, and handles no Secret",
		nowhere: []string{
			module + "/internal/controller", module + "/internal/keysecret", controller, module + "/internal/httpapi",
			module + "/internal/dashboard", module + "/internal/session", module + "/internal/posting",
			module + "/internal/publish", module + "/internal/store", module + "/internal/vault", tink,
		},
	},
	{
		room: "internal/gate", reason: "what proxies are told depends on the key alone, whatever the key is else good for",
		never: []string{"os", clientGo, coreTypes, module + "/internal/authn"},
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/keysecret", module + "/internal/endpoint",
			module + "/internal/httpapi", module + "/internal/store", module + "/internal/publish", module + "/internal/posting",
		},
	},
	{
		room: "internal/tokenreview", reason: "who asks is known before anything of a key is, and by none of its parts",
		never: []string{"net/http", "os", coreTypes},
		nowhere: []string{
			controller, module + "/internal/authn", module + "/internal/admission", module + "/internal/keyring",
			module + "/internal/gate", module + "/internal/store", module + "/internal/endpoint", module + "/internal/httpapi",
		},
	},
	{
		room: "internal/leak", reason: "a key that has leaked is ended the same way, whoever reports it and how",
		never: []string{"os", clientGo, coreTypes},
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/keysecret", module + "/internal/admission",
			module + "/internal/endpoint", module + "/internal/httpapi", module + "/internal/store", module + "/internal/gate",
		},
	},
	{
		room: "internal/keyring", reason: "what a process knows of keys is the same whatever it lets them do",
		never: []string{"net/http", "os", coreTypes},
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/keysecret", module + "/internal/admission",
			module + "/internal/endpoint", module + "/internal/httpapi", module + "/internal/store", module + "/internal/gate",
		},
	},
	{
		room: "internal/plugin", reason: "it acts as a person, by client-go alone: it decides nothing of keys, and reads no Secret",
		never: []string{"net"},
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/keysecret", module + "/internal/authn",
			module + "/internal/admission", module + "/internal/session", module + "/internal/store",
			module + "/internal/endpoint", module + "/internal/httpapi",
		},
	},
	{
		room: "cmd/kubectl-letmepost", reason: "people install it on their machines: what serves, watches or mints in a cluster is not in it",
		nowhere: []string{
			controller, module + "/internal/controller", module + "/internal/keysecret", module + "/internal/authn",
			module + "/internal/serve", module + "/internal/store",
		},
	},
	{
		room: "cmd/controller", reason: "the process that may create Secrets faces no network, and opens no account",
		nowhere: []string{
			module + "/internal/authn", module + "/internal/httpapi", module + "/internal/dashboard", module + "/internal/vault", tink,
		},
	},
}
