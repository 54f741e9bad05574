package fetch

import (
	"testing"
	"testing/synctest"

	"polynode/kernels"
)

func TestGet(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		c.serve("a", from, nil)
		me, dir := c.node("me"), newDir(t)
		m, err := Get(t.Context(), me, dir, digest, share(0, 1), []string{"a"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		check(t, m, share(0, 1))
		pieces, _ := share(1, 0)(m.Config())
		if n, err := m.Missing(pieces); err != nil || n == 0 {
			t.Errorf("%d units of another rank are missing, %v", n, err)
		}
		again, err := Get(t.Context(), me, dir, digest, whole, []string{"a"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if !again.Present().Full() {
			t.Error("not everything is here")
		}
		if err := again.VerifyAll(t.Context(), nil); err != nil {
			t.Error(err)
		}
		check(t, m, share(1, 0)) // the first map gained what came later
		list, err := dir.List()
		if err != nil || len(list) != 1 || list[0].Present != list[0].Total || list[0].Err != nil {
			t.Errorf("list %+v, %v", list, err)
		}
		if _, err := dir.OpenPartial(again.Digest()); err == nil {
			t.Error("a whole model opens as a partial one")
		}
	})
}
