package lint

import "regexp"

// importTable is the house, floor by floor: what stands below never knows what stands above. A child may import its parent
// without being allowed here. ARCHITECTURE.md explains the floors.
const importTable = `
7 cmd/polynode         node configs kernels kernels/kernelbench tokenizer internal/relay transport/linkbench # what a verb shows without a node

6 node                 *

5 api                  engine engine/sample tokenizer
5 web

4 engine/pipeline      engine shard transport
4 engine/worker        engine engine/sample kernels kernels/pool model shard transport transport/collective

3 engine               engine/sample shard
3 engine/sample
3 cluster/member       cluster cluster/trust shard transport
3 cluster              cluster/trust shard transport
3 model/demo           model/store
3 model/fetch          model model/store shard transport

2 model                kernels kernels/pool shard
2 model/checkpoint
2 model/store          kernels shard
2 model/synth          kernels
2 transport/collective kernels shard internal/relay # the relay in tests
2 transport/linkbench  internal/relay
2 transport/linkprobe
2 cluster/trust        shard

1 transport            internal/relay # in tests
1 shard
1 shard/planner
1 kernels/kernelbench  kernels/pool

0 kernels              kernels/internal/avx2 kernels/internal/avx512 kernels/internal/neon
0 kernels/internal/avx2
0 kernels/internal/avx512
0 kernels/internal/neon
0 kernels/pool
0 internal/relay
0 tokenizer
0 configs

# For tests only; the product may not import them.
8 internal/lint
8 internal/npy
8 internal/refmath     model
9 internal/memsource   internal/refmath kernels model shard
9 test/machines        configs node shard shard/planner
`

// homes gives each third-party module its one package, and keeps some of the standard library where it belongs.
var homes = Homes{
	"github.com/hashicorp/raft":           {"cluster"},
	"github.com/hashicorp/memberlist":     {"cluster"},
	"github.com/hashicorp/go-hclog":       {"cluster"},
	"github.com/quic-go/quic-go":          {"transport"},
	"golang.org/x/net":                    {"transport"}, // the type in which quic-go takes packets
	"github.com/klauspost/cpuid/v2":       {"kernels"},
	"github.com/prometheus/client_golang": {"api", "node"},
	"github.com/schollz/progressbar/v3":   {"cmd/polynode"},
	"github.com/spf13/cobra":              {"cmd/polynode"},
	"github.com/spf13/pflag":              {"cmd/polynode"},
	"go.etcd.io/bbolt":                    {"cluster"},
	"go.yaml.in/yaml/v3":                  {"configs"},
	"github.com/shirou/gopsutil/v4":       {"node"},
	"golang.org/x/sync":                   {"model/store", "node", "transport/collective"},
	"golang.org/x/sys":                    {"kernels", "kernels/pool", "model/checkpoint", "model/store", "transport", "internal/relay", "test/machines"},
	"golang.org/x/term":                   {"cmd/polynode"},
	"golang.org/x/time":                   {"model/fetch"},
	"google.golang.org/protobuf":          {"tokenizer"},

	"go.uber.org/goleak": {"tests"},
	"gonum.org/v1/gonum": {"tests"},
	"pgregory.net/rapid": {"tests"},

	"io/ioutil": {},
	"log":       {},
	"math/rand": {},
	"net/http":  {"api", "web", "node", "cmd/polynode", "tests"},
	"reflect":   {"tests"},
	"unsafe":    {"model/store"},
}

// pure is the code that decides and computes; the shells around it act.
var pure = Pure{
	"kernels":       {"os"}, // one environment variable, when the process starts
	"shard":         nil,
	"shard/planner": nil,
	"engine/sample": nil,

	"engine/blocks.go":    nil,
	"engine/check.go":     nil,
	"engine/commit.go":    nil,
	"engine/job.go":       nil,
	"engine/schedule*.go": nil,
	"cluster/apply*.go":   nil,
	"cluster/command.go":  nil,
	"cluster/state.go":    nil,
	"transport/frame.go":  nil,
}

// filesLong may be longer than the rest, by file.
var filesLong = Exceptions{}

// functionsLong are to be shortened, by file:function, with their lines.
var functionsLong = Ratchet{}

// bans are the calls that the house does without.
var bans = []Ban{
	{Call: "fmt.Print*", Homes: []string{"cmd/*"}, Instead: "use slog, or write to the io.Writer that the caller passes"},
	{Call: "print", Where: InProduct, Instead: "use slog"},
	{Call: "println", Where: InProduct, Instead: "use slog"},
	{Call: "time.Sleep", Where: InTests, Beside: "testing/synctest", Instead: "wait for the event itself: a channel, a context, or testing/synctest's clock"},
	{Call: "time.Sleep", Where: InProduct, Instead: "use a timer and select on the context as well"},
	{Call: "time.Tick", Instead: "use time.NewTicker and stop it"},
	{Call: "panic", Where: InProduct, Instead: "return an error; if only a bug can lead here, list the function in internal/lint/policy.go with the invariant"},
	{Call: "os.Exit", Where: InProduct, Homes: []string{"cmd/*"}, Instead: "return an error up to main"},
	{Call: "context.TODO", Instead: "pass the caller's context"},
	{Call: "context.Background", Where: InProduct, Homes: []string{"cmd/*"}, Instead: "pass the caller's context"},
	{Call: "net/http.Get", Where: InProduct, Instead: "use a client with a timeout and a request with a context"},
	{Call: "net/http.Post", Where: InProduct, Instead: "use a client with a timeout and a request with a context"},
	{Call: "net/http.DefaultClient", Where: InProduct, Homes: []string{"cmd/*"}, Instead: "use a client with a timeout"},
	{Call: "net/http.ListenAndServe", Instead: "use http.Server with its timeouts, and Shutdown"},
	{Call: "net/http.HandleFunc", Instead: "use a mux of your own"},
	{Call: "log/slog.SetDefault", Where: InProduct, Homes: []string{"cmd/*"}, Instead: "pass the logger"},
}

// callsAllowed are the calls that break a ban for a reason, by file:function.
var callsAllowed = Exceptions{
	"api/guard.go:Server.outermost":               "net/http's own way to end a connection whose answer is half written",
	"engine/worker/worker.go:guarded":             "recovered what was no memory fault: hands it on",
	"kernels/activations.go:Activations.Quantise": "rows outside the buffer: the caller counts them",
	"kernels/fused.go:Activations.SetGELU":        "columns outside the buffer or not whole blocks: the caller cuts them",
	"kernels/fused.go:Activations.SetNorm":        "rows outside the buffer: the caller counts them",
	"kernels/activations.go:Activations.Reset":    "a size below zero: the caller computes it from a checked batch",
	"kernels/kv.go:KV.Store":                      "a slot outside its block: the caller derives it from a position",
	"kernels/pool/pool.go:Pool.Run":               "more parts than an int32: the caller computes them from a checked shape",
	"kernels/pool/pool.go:Pool.finish":            "hands a task's panic to the goroutine that called Run",
	"kernels/product.go:MulPanels":                "shapes that do not fit: the model checked them when it was loaded",
	"model/head.go:Stage.mulHead":                 "a piece outside the share: pieces are cut from its own length",
	"model/checkpoint/weightfile.go:guardFaults":  "recovered what was no memory fault: hands it on",
	"model/store/guard.go:Model.guard":            "recovered what was no memory fault: hands it on",
	"web/web.go:FS":                               "the embedded folder is part of the binary",
	"web/web.go:Handler":                          "the embedded folder is part of the binary",
}

// contextsKept are the types that may hold a context, by file:type.
var contextsKept = Exceptions{
	"cluster/gossip.go:gossip":        "the library's interface has none; it ends what waits when the transport is shut down",
	"cluster/streams.go:streams":      "the library's interface has none; it ends what waits when the transport is closed",
	"engine/pipeline/pipeline.go:job": "the message that carries a call to the rank's goroutine, context first",
	"engine/worker/near.go:Near":      "ends when a newer plan takes the worker, between the rank's calls too",
	"node/front.go:callListener":      "net.Listener has none; it ends Accept when the listener is closed",
}

// initsAllowed are the files that may have an init.
var initsAllowed = Exceptions{}

// phrases are written in pieces, so that this file does not say them.
var phrases = []Phrase{
	{regexp.MustCompile(`(^|[^\w.$])/(work|root|tmp/pn)` + `/`), "a path of one machine: find the file from the test or ask the caller"},
	{regexp.MustCompile(`proxy\.golang` + `\.org|sum\.golang` + `\.org|registry\.npmjs` + `\.org|registry\.yarnpkg` + `\.com|deb\.debian` + `\.org|(^|[^\w])pypi` + `\.org`),
		"a registry's host: use the ordinary client by package name (for npm: --omit-lockfile-registry-resolved)"},
	{regexp.MustCompile(`(?i)\bissue` + ` #?[0-9]`), "write down the reason itself"},
}
