// Package demo is the small model inside the binary, with which polynode answers before anything was downloaded: PolyLM's
// architecture trained by heart on the Universal Declaration of Human Rights in PolyLM's 18 languages.
//
// udhr.pn is made by the project's own importer from the published files in checkpoint/, in q8; a test imports
// them again and compares every byte. In the walk of a token it stands where a model file stands otherwise.
//
// The embedded bytes are read-only and every Open gives a Model of its own; all functions are safe for concurrent use.
package demo
