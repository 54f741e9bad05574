// Package configs holds every setting of a node in one Config, and the shapes of the published PolyLM models.
//
// A setting has one name, which is its flag (--kv-memory), its environment variable (POLYNODE_KV_MEMORY) and its key in
// the YAML file (kv-memory); its default and its help stand beside it. A flag wins over the environment, the environment over the
// file, the file over the default. All mistakes are reported at once, before anything starts.
//
// ReadCluster reads the nodes and links of a cluster that one may not have, for `polynode plan --what-if`; clusters/ has examples.
//
// The package is plain data: it opens one file when asked to and has no state.
package configs
