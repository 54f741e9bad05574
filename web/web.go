package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed static
var static embed.FS

// policy lets the page load its own files and talk to its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// types are the content types of the files, fixed here because a machine's own table may be wrong.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// FS returns the page's files.
func FS() fs.FS {
	sub, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	return sub
}

// file is one file as it is served.
type file struct {
	kind, tag string
	body      []byte
}

// Serves reports whether Handler has a file for the path of a URL.
func Serves(urlPath string) bool {
	info, err := fs.Stat(FS(), path.Clean("."+urlPath))
	return err == nil && (urlPath == "/" || !info.IsDir())
}

// Handler serves the page at / and its files beside it; other paths are a 404. Files carry an ETag and are asked for again
// each time, so that a new binary's page is seen at once.
func Handler() http.Handler {
	files := map[string]file{}
	entries, err := fs.ReadDir(FS(), ".")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	for _, e := range entries {
		body, err := fs.ReadFile(FS(), e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		f := file{types[path.Ext(e.Name())], `"` + hex.EncodeToString(sum[:8]) + `"`, body}
		files["/"+e.Name()] = f
		if e.Name() == "index.html" {
			files["/"] = f
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", f.kind)
		h.Set("ETag", f.tag)
		h.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
	})
}
