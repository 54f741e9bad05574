package trust

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func openFolder(t *testing.T) (*Folder, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state", "keys")
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f, dir
}

// A node that starts again is the same node with the same certificate.
func TestFolderKeeps(t *testing.T) {
	f, dir := openFolder(t)
	if _, err := f.Credentials(); !errors.Is(err, ErrNone) {
		t.Errorf("credentials of a new node: %v", err)
	}
	if _, err := f.CA(); !errors.Is(err, ErrNone) {
		t.Errorf("CA of a new node: %v", err)
	}
	identity, err := f.Identity()
	if err != nil {
		t.Fatal(err)
	}
	ca := newCA(t, "c1")
	if err := f.SaveCA(ca); err != nil {
		t.Fatal(err)
	}
	c := member(t, ca, identity, Worker, now)
	if err := f.SaveCredentials(c); err != nil {
		t.Fatal(err)
	}

	again, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := again.Credentials()
	if err != nil || kept.Identity.ID() != identity.ID() || kept.Serial() != c.Serial() || !kept.Bundle.Contains(ca.Fingerprint()) {
		t.Errorf("kept %+v, %v", kept, err)
	}
	if back, err := again.CA(); err != nil || back.Fingerprint() != ca.Fingerprint() {
		t.Errorf("kept CA %+v, %v", back, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Errorf("files %v, %v", entries, err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", entry.Name(), info.Mode(), err)
		}
	}
	for range 2 {
		if err := again.RemoveCA(); err != nil {
			t.Error(err)
		}
	}
	if _, err := again.CA(); !errors.Is(err, ErrNone) {
		t.Errorf("CA after it was removed: %v", err)
	}
}

// A damaged file is never taken for a missing one: a node must not become another one by itself.
func TestFolderDamaged(t *testing.T) {
	for _, name := range []string{fileKey, fileChain, fileBundle, fileCA} {
		for what, data := range map[string][]byte{"empty": nil, "garbage": []byte("garbage"), "too long": make([]byte, PEMMax+1)} {
			f, dir := openFolder(t)
			fill(t, f)
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := f.Credentials()
			if name == fileCA {
				_, err = f.CA()
			}
			if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
	}
	f, dir := openFolder(t)
	fill(t, f)
	if err := os.Remove(filepath.Join(dir, fileKey)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.Identity(); !errors.Is(err, ErrKeyFile) {
			t.Errorf("certificate without its key: %v", err)
		}
	}
}

func fill(t *testing.T, f *Folder) {
	t.Helper()
	identity, err := f.Identity()
	if err != nil {
		t.Fatal(err)
	}
	ca := newCA(t, "c1")
	if err := errors.Join(f.SaveCA(ca), f.SaveCredentials(member(t, ca, identity, Worker, now))); err != nil {
		t.Fatal(err)
	}
}

func TestFolderOpenToOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing here")
	}
	f, dir := openFolder(t)
	fill(t, f)
	if err := os.Chmod(filepath.Join(dir, fileKey), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Identity(); !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
}

// What cannot be written leaves the old file as it was, and no other.
func TestFolderWriteFails(t *testing.T) {
	f, dir := openFolder(t)
	fill(t, f)
	if err := os.Remove(filepath.Join(dir, fileCA)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, fileCA, "full"), 0o700); err != nil { // no file can be renamed to it
		t.Fatal(err)
	}
	if err := f.SaveCA(newCA(t, "c1")); !errors.Is(err, ErrKeyFile) {
		t.Errorf("write over a folder: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := OpenFolder(filepath.Join(dir, fileKey)); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a file as the folder: %v", err)
	}
}
