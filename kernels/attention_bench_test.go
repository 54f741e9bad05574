package kernels

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// benchLayers is a cache of many layers, each in a slab of its own, which hold the same bytes.
type benchLayers struct {
	layers []KV
	data   []byte // of all layers
	table  []int32
	q      []float32 // (rows, heads*headDim)
}

const benchHeads, benchHeadDim = 16, 128 // PolyLM 1.7B

func newBenchLayers(b *testing.B, f KVFormat, layers, rows, keys int) *benchLayers {
	b.Helper()
	rng := newRand(1)
	blocks := (keys + BlockTokens - 1) / BlockTokens
	size := blocks * KVBlockBytes(f, benchHeads, benchHeadDim)
	l := &benchLayers{data: make([]byte, layers*size), q: normals(rng, rows*benchHeads*benchHeadDim, 1)}
	for i := range layers {
		kv, err := NewKV(f, benchHeads, benchHeadDim, l.data[i*size:(i+1)*size])
		if err != nil {
			b.Fatal(err)
		}
		l.layers = append(l.layers, kv)
	}
	for i := range blocks {
		l.table = append(l.table, int32(i))
	}
	k := normals(rng, benchHeads*benchHeadDim*64, 1)
	for p := range blocks * BlockTokens {
		l.layers[0].Store(int32(p/BlockTokens), p%BlockTokens, k[p%32*benchHeadDim:], k[p%31*benchHeadDim:])
	}
	for _, kv := range l.layers[1:] {
		copy(kv.Data, l.layers[0].Data)
	}
	return l
}

// decode is the attention of one new token in all layers, all heads together for each key block.
func (l *benchLayers) decode(keys, heads int, s *AttendScratch, parts, out []float32) {
	size, blocks := PartFloats(benchHeadDim), KeyBlocks(keys)
	for i := range l.layers {
		for h := 0; h < benchHeads; h += heads {
			for b := range blocks {
				q := l.q[h*benchHeadDim : (h+heads)*benchHeadDim]
				l.layers[i].AttendHeads(parts[(b*benchHeads+h)*size:(b*benchHeads+h+heads)*size], q, 0, 1, h, heads, l.table, keys-1, b, s)
			}
		}
		for h := range benchHeads {
			Combine(out[h*benchHeadDim:(h+1)*benchHeadDim], parts[h*size:], benchHeads*size, blocks)
		}
	}
}

// BenchmarkAttend/rows=1 is the attention of one token over keys from memory (24 layers) or from the cache (keys=128, one layer): GB/s of keys and values, and their
// share of what Sweep reads of the same bytes in the same run. The other rows are those of a prompt's last chunk: cycles for one query row, one key and one
// head, with as many keys masked as a chunk masks.
func BenchmarkAttend(b *testing.B) {
	benchEachTier(b, func(b *testing.B) {
		for _, f := range allKVFormats {
			for _, keys := range []int{128, 1024, 2000} {
				for _, heads := range []int{1, 4, 16} {
					b.Run(fmt.Sprintf("kv=%s/rows=1/keys=%d/heads=%d", f, keys, heads), func(b *testing.B) { benchDecode(b, f, keys, heads) })
				}
			}
			for _, rows := range []int{4, 16, 64, 512} {
				b.Run(fmt.Sprintf("kv=%s/rows=%d/keys=512", f, rows), func(b *testing.B) { benchPrefill(b, f, rows, 512) })
			}
		}
	})
}

func benchDecode(b *testing.B, f KVFormat, keys, heads int) {
	layers := 24
	if keys == KeyBlock {
		layers = 1
	}
	l := newBenchLayers(b, f, layers, 1, keys)
	var s AttendScratch
	parts, out := make([]float32, KeyBlocks(keys)*benchHeads*PartFloats(benchHeadDim)), make([]float32, benchHeads*benchHeadDim)
	bytes := float64(layers * keys * 2 * benchHeads * f.VectorBytes(benchHeadDim))
	sweep, attend := math.Inf(1), math.Inf(1)
	for b.Loop() {
		start := time.Now()
		Sweep(l.data)
		middle := time.Now()
		l.decode(keys, heads, &s, parts, out)
		sweep = min(sweep, middle.Sub(start).Seconds())
		attend = min(attend, time.Since(middle).Seconds())
	}
	b.ReportMetric(bytes/attend/1e9, "best-GB/s")
	b.ReportMetric(bytes/attend/(float64(len(l.data))/sweep), "of-sweep")
}

func benchPrefill(b *testing.B, f KVFormat, rows, keys int) {
	l := newBenchLayers(b, f, 1, rows, keys)
	var s AttendScratch
	stride := benchHeads * benchHeadDim
	out := make([]float32, len(l.q))
	pairs := rows*(keys-rows) + rows*(rows+1)/2
	clock := clockHertz()
	head := 0
	best := bestPass(b, func() {
		head = (head + 1) % benchHeads
		l.layers[0].Attend(out[head*benchHeadDim:], stride, l.q[head*benchHeadDim:], stride, rows, head, l.table, keys-rows, &s)
	})
	b.ReportMetric(best*clock/float64(pairs), "best-cycles")
	b.ReportMetric(clock/1e9, "GHz")
}

// clockHertz measures the processor's clock by a chain of additions and shifts that take a cycle each on every processor.
func clockHertz() float64 {
	const steps = 1 << 20
	best := math.Inf(1)
	for range 5 {
		start, x := time.Now(), uint64(steps)
		for i := range uint64(steps) {
			x += x >> 1 // two steps
			x ^= i
		}
		best = min(best, time.Since(start).Seconds())
		sinkWord = x
	}
	return 3 * steps / best
}

var sinkWord uint64
