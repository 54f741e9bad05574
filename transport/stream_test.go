package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestStreamBytes(t *testing.T) {
	_, _, _, a, b := connected(t)
	near, far := NewStream(a), NewStream(b)
	if near.RemoteAddr().String() != "b" || far.LocalAddr().String() != "b" || near.LocalAddr().Network() != "polynode" {
		t.Errorf("addresses %v, %v", near.RemoteAddr(), far.LocalAddr())
	}
	sent := bytes.Repeat([]byte("0123456789abc"), 100_000) // several windows
	done := make(chan error, 1)
	go func() {
		n, err := near.Write(sent)
		if n != len(sent) {
			err = errors.Join(err, io.ErrShortWrite)
		}
		done <- errors.Join(err, near.Close())
	}()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrived, %v; want %d", len(got), err, len(sent))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := far.Write([]byte("x")); !errors.Is(err, ErrPeerGone) {
		t.Errorf("write to a closed stream: %v", err)
	}
	far.Close()
	if _, err := far.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if _, err := NewStream(b).Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

func TestStreamDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, _, a, b := connected(t)
		near, far := NewStream(a), NewStream(b)
		start := time.Now()
		near.SetReadDeadline(start.Add(time.Second))
		near.SetWriteDeadline(start.Add(time.Minute))
		buf := make([]byte, 10)
		for range 2 { // also a deadline that has passed
			_, err := near.Read(buf)
			var timeout net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != time.Second {
				t.Errorf("read: %v after %v", err, time.Since(start))
			}
		}
		near.SetReadDeadline(time.Time{})
		if _, err := far.Write([]byte("later")); err != nil {
			t.Fatal(err)
		}
		if n, err := near.Read(buf); err != nil || string(buf[:n]) != "later" {
			t.Errorf("read after a deadline: %q, %v", buf[:n], err)
		}
		if _, err := near.Write(make([]byte, 2*Window)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("write: %v after %v", err, time.Since(start))
		}
	})
}

func TestStreamRefuses(t *testing.T) {
	_, _, _, a, b := connected(t)
	if err := a.Send(&Frame{Header: Header{Kind: KindSums}}); err != nil {
		t.Fatal(err)
	}
	if _, err := NewStream(b).Read(make([]byte, 1)); !errors.Is(err, ErrFrame) {
		t.Errorf("a frame of another kind: %v", err)
	}
}

// A connection that broke is no end of file: what was under way is missing.
func TestStreamBroken(t *testing.T) {
	hub, _, _, a, b := connected(t)
	if err := a.Send(&Frame{Header: Header{Kind: KindBytes}, Payload: []byte("lost")}); err != nil {
		t.Fatal(err)
	}
	hub.Break("a", "b")
	if _, err := NewStream(b).Read(make([]byte, 1)); errors.Is(err, io.EOF) || !errors.Is(err, ErrPeerGone) {
		t.Errorf("read from a broken connection: %v", err)
	}
}
