package web

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

func TestHandlerServesEachFileWithTypeAndPolicy(t *testing.T) {
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/index.html": "text/html; charset=utf-8", "/app.js": "text/javascript; charset=utf-8",
		"/style.css": "text/css; charset=utf-8", "/favicon.svg": "image/svg+xml",
	} {
		w := get(t, path)
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: status %d, %d bytes", path, w.Code, w.Body.Len())
		}
		if got := w.Header().Get("Content-Type"); got != kind {
			t.Errorf("%s: content type %q, want %q", path, got, kind)
		}
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy %q", path, got)
		}
		again := get(t, path, "If-None-Match", w.Header().Get("ETag"))
		if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("%s: asked again with its tag: status %d, %d bytes", path, again.Code, again.Body.Len())
		}
	}
}

func TestServes(t *testing.T) {
	for path, want := range map[string]bool{"/": true, "/app.js": true, "/index.html": true, "/nothing": false, "/../web.go": false, "/static": false} {
		if got := Serves(path); got != want {
			t.Errorf("Serves(%q) is %v", path, got)
		}
	}
}

func TestHandlerRefusesTheRest(t *testing.T) {
	for _, path := range []string{"/static/app.js", "/doc.go", "/..%2fweb.go", "/nothing", "/app.js/"} {
		if w := get(t, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("POST: status %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

// The policy would block what these look for; the page must not need it.
var foreign = regexp.MustCompile(`https?://|\bstyle=|\bon[a-z]+="|<script>|<style|innerHTML|eval\(|@import|url\(`)

func TestPageIsSmallAndSelfContained(t *testing.T) {
	total := 0
	err := fs.WalkDir(FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(FS(), path)
		total += len(body)
		if path != "favicon.svg" { // its one address is the name of the SVG namespace
			if bad := foreign.Find(body); bad != nil {
				t.Errorf("%s contains %q", path, bad)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if total > 40<<10 {
		t.Errorf("the page has %d bytes, want at most 40 kB", total)
	}
	t.Logf("%d bytes", total)
}

func TestScriptFindsItsElements(t *testing.T) {
	script, _ := fs.ReadFile(FS(), "app.js")
	page, _ := fs.ReadFile(FS(), "index.html")
	for _, m := range regexp.MustCompile(`\$\("([a-z_]+)"\)`).FindAllSubmatch(script, -1) {
		if !strings.Contains(string(page), `id="`+string(m[1])+`"`) {
			t.Errorf("app.js uses the element %q, which index.html lacks", m[1])
		}
	}
}
