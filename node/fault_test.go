package node

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"polynode/configs"
	"polynode/kernels"
)

// A model's file that is cut under a running node, as by a disk that fails, costs requests and readiness but not the process,
// though the weights are mapped and were verified before.
func TestACutModelFailsRequestsOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mapped file cannot be cut there")
	}
	data := t.TempDir()
	library, err := OpenLibrary(data)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	if _, err := library.Import(t.Context(), filepath.Join("..", "model", "demo", "checkpoint"), ImportOptions{Name: "m", Format: kernels.Q8, EOS: -1}); err != nil {
		t.Fatal(err)
	}
	n := start(t, func(c *configs.Config) { c.Data, c.Model = data, "m" })
	ask := func() (int, string) {
		body := strings.NewReader(`{"prompt": "Alle Menschen sind frei und", "max_tokens": 4, "temperature": 0}`)
		response, err := n.Client().Post("http://localhost/v1/completions", "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	if status, text := ask(); status != http.StatusOK {
		t.Fatalf("a whole model gives %d: %s", status, text)
	}
	files, err := filepath.Glob(filepath.Join(library.Path(), "blobs", "*.pn"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of models: %q, %v", files, err)
	}
	if err := os.Truncate(files[0], 1<<20); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if status, text := ask(); status != http.StatusInternalServerError {
			t.Errorf("a cut model gives %d: %s", status, text)
		}
	}
	response, err := n.Client().Get("http://localhost/livez")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}
