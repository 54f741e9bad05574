package transport

import (
	"fmt"
	"testing"
)

// Both sides of an exchange in one process: what it costs them in computing together.
func BenchmarkQUICExchange(b *testing.B) {
	for _, size := range []int{64, 10_000, 20_000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			cluster := newTestCluster(b)
			left, right := cluster.start(b, "a"), cluster.start(b, "b")
			near, far := join(b, left, right, ClassActivation)
			left.Hurry()
			defer left.Relax()
			right.Hurry()
			defer right.Relax()
			echo := make(chan error, 1)
			out, in := numbered(1, size), new(Frame)
			go func() {
				answer, frame := numbered(2, size), new(Frame)
				for {
					err := far.Send(answer)
					if err == nil {
						err = far.Recv(frame)
					}
					if err != nil {
						echo <- err
						return
					}
				}
			}()
			b.ReportAllocs()
			for b.Loop() {
				if err := near.Send(out); err != nil {
					b.Fatal(err)
				}
				if err := near.Recv(in); err != nil {
					b.Fatal(err)
				}
			}
			near.Close()
			<-echo
		})
	}
}
